"""The web application without a browser: what it imports, which doors are open, what it says when it cannot start."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder, reader_folder, register_demo
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.ui import serving
from wfgy_triage.ui.app import build_app
from wfgy_triage.ui.received import MAX_UPLOAD
from wfgy_triage.ui.serving import serve_forever
from wfgy_triage.ui.theme import STYLE_SHEET


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_the_web_process_imports_no_model_library():
    heavy = ("torch", "transformers", "exllamav2", "plotly", "matplotlib")
    seen = run_python(f"import sys, app; print([m for m in {heavy} if m in sys.modules])")
    assert seen.strip() == "[]"


def test_importing_the_app_looks_up_no_host():
    code = (
        "import socket\n"
        "asked = []\n"
        "real = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda host, *a, **k: (asked.append(host), real(host, *a, **k))[1]\n"
        "import tempfile, pathlib\n"
        "from wfgy_triage.settings import load_settings\n"
        "from wfgy_triage.runs.service import TriageService\n"
        "from wfgy_triage.ui.app import build_app\n"
        "home = pathlib.Path(tempfile.mkdtemp())\n"
        "settings = load_settings(home=home, pairs_file=home / 'p.yaml', database_url=f'sqlite:///{home}/t.db')\n"
        "build_app(settings, TriageService(settings))\n"
        "print(asked)"
    )
    assert run_python(code).strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health(client: TestClient, method: str):
    assert client.request(method, "/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/", "/runs", "/healthz", "/config"])
def test_security_headers_are_on_every_answer(client: TestClient, path: str):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_space_may_frame_the_app(
    settings: Settings, service: TriageService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SPACE_ID", "someone/space")
    headers = TestClient(build_app(settings, service)).get("/healthz").headers
    assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_interface_description_is_served(client: TestClient, path: str):
    assert "swagger" not in client.get(path).text.lower()
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(("path", "home"), [("/nope", "./"), ("/a/b/nope", "../../")])
def test_a_mistyped_address_leads_back_to_the_app(client: TestClient, path: str, home: str):
    asked = {"accept": "text/html,*/*;q=0.8", "accept-language": "zh-CN"}
    found = client.get(path, headers=asked)
    assert found.status_code == 404
    assert f'<a href="{home}">' in found.text
    assert f'<a href="{home}runs">' in found.text
    assert "没有这个页面" in found.text
    assert found.headers["cache-control"] == "no-store"
    assert client.get(path, headers={"accept": "application/json"}).json() == {"detail": "Not Found"}


def test_no_selector_of_the_style_sheet_has_a_comma_inside_brackets():
    # Gradio splits selectors at every comma to put its prefix before each part: such a rule would hit other elements.
    text = re.sub(r"/\*.*?\*/", "", STYLE_SHEET.read_text(), flags=re.DOTALL)
    selectors = re.findall(r"([^{};]+)\{", text)
    assert len(selectors) > 200
    assert [s.strip() for s in selectors if not s.strip().startswith("@") and re.search(r"\([^)]*,", s)] == []


def test_files_of_the_server_are_not_served(client: TestClient, settings: Settings):
    for path in ("/etc/passwd", str(REPO_ROOT / "app.py"), str(settings.home / "triage.db")):
        assert client.get(f"/gradio_api/file={path}").status_code == 403


def test_no_handler_is_public(client: TestClient):
    info = client.get("/gradio_api/info").json()
    assert info["named_endpoints"] == {}
    assert info["unnamed_endpoints"] == {}


def test_uploads_are_bounded(client: TestClient):
    files = {"files": ("big.bin", b"0" * (MAX_UPLOAD + 100_000))}
    assert client.post("/gradio_api/upload", files=files).status_code == 413


def test_nothing_is_remembered_in_the_browser_and_no_page_is_remote(client: TestClient):
    config = client.get("/config").json()
    assert not config.get("run_history")
    assert config["analytics_enabled"] is False


def test_a_taken_port_is_said_in_plain_words(settings: Settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = Settings(settings.home, "127.0.0.1", port, settings.pairs_file, settings.database_url)
        with pytest.raises(PrerequisiteError, match=f"port {port}") as caught:
            serve_forever(busy)
    assert "--port" in caught.value.hint


def test_an_unusable_database_is_said_before_the_page_is_served(settings: Settings):
    settings.home.mkdir(parents=True)
    (settings.home / "triage.db").write_bytes(b"this is not a database" * 500)
    any_port = Settings(settings.home, "127.0.0.1", 0, settings.pairs_file, settings.database_url)
    with pytest.raises(PrerequisiteError):
        serve_forever(any_port)


def test_a_demo_that_lacks_what_reads_complaints_is_completed(settings: Settings):
    register_demo(settings)
    made = [fp16_folder(settings), *(exl2_folder(settings, sibling) for sibling in SIBLINGS)]
    for folder in made:
        assert serving._demo_wanted(settings) == serving.DEMO_COMMAND
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert serving._demo_wanted(settings) == (*serving.DEMO_COMMAND, "--free-text")
    reader_folder(settings).mkdir()
    (reader_folder(settings) / "config.json").write_text("{}")
    assert serving._demo_wanted(settings) is None
