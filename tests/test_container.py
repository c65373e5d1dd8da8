"""The container's files say the same as the repository. (The images are built elsewhere: that needs an engine.)"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path

import pytest
import uvicorn
import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("cpu", "cuda")


def stages() -> tuple[dict[str, str], dict[str, list[tuple[str, str]]]]:
    """The ARGs before the first stage, and every stage's instructions in order, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8")).replace("\\\n", " ")
    arguments: dict[str, str] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    lines: list[tuple[str, str]] | None = None
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        rest = re.sub(r"\s+", " ", rest.strip())
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            lines = found.setdefault(name, [("FROM", image)])
        elif lines is None:
            arguments.update([rest.split("=", 1)])
        else:
            lines.append((word, rest))
    return arguments, found


ARGUMENTS, STAGES = stages()


def all_of(target: str, word: str) -> list[str]:
    return [rest for w, rest in STAGES[target] if w == word]


def environment(target: str) -> dict[str, str]:
    return dict(part.split("=", 1) for rest in all_of(target, "ENV") for part in shlex.split(rest))


def test_there_are_two_targets_on_pinned_images():
    assert set(STAGES) == {"app", *TARGETS}
    for image in ARGUMENTS.values():
        name, _, tag = image.partition(":")
        assert re.search(r"\d+\.\d+\.\d+", tag), f"{name} is not pinned"
    assert [STAGES[t][0][1] for t in TARGETS] == ["${PYTHON_IMAGE}", "${CUDA_IMAGE}"]


def test_every_copied_path_exists_and_gets_into_the_build():
    rules = [r for r in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if r and r[0] != "#"]
    assert rules[0] == "*"
    copied = [
        source
        for stage in STAGES
        for rest in all_of(stage, "COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    ]
    assert {"app.py", "fixmap", "assets", "wfgy_triage", "requirements.txt"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in rules, f"{source} does not get into the build"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == set(copied), "what is not copied stays out"
    for secret in (".env", ".git", "pairs.yaml", "triage.db", "tests"):
        assert not any(fnmatch.fnmatch(secret, rule) for rule in allowed)


def test_the_image_has_everything_the_program_reads_beside_its_package():
    read = set()
    for path in [*(ROOT / "wfgy_triage").rglob("*.py"), ROOT / "app.py"]:
        read |= set(re.findall(r'REPO_ROOT / "([\w.-]+)"', path.read_text("utf-8")))
    copied = {s for rest in all_of("app", "COPY") for s in rest.split()[:-1]}
    assert read
    assert read <= copied


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_nobody_special_on_the_documented_port_and_says_how_it_is(target):
    words = [w for w, _ in STAGES[target]]
    assert all_of(target, "USER") == ["10001"]
    assert words.index("USER") > max(i for i, w in enumerate(words) if w == "RUN"), (
        "nothing is built as that user"
    )
    variables = environment(target)
    port = variables["WFGY_TRIAGE_PORT"]
    assert all_of(target, "EXPOSE") == [port]
    assert all_of(target, "VOLUME") == [variables["WFGY_TRIAGE_HOME"]]
    (health,) = all_of(target, "HEALTHCHECK")
    assert f"127.0.0.1:{port}/healthz" in health
    assert '"/healthz"' in (ROOT / "wfgy_triage/ui/app.py").read_text("utf-8")
    (command,) = all_of(target, "CMD")
    assert json.loads(command) == ["python", "app.py"]
    assert all_of(target, "WORKDIR") == ["/app"]
    assert not [name for name in variables if re.search("PASSWORD|TOKEN|SECRET|DATABASE_URL", name)]


@pytest.mark.parametrize("target", TARGETS)
def test_packages_are_installed_as_pinned_and_nothing_is_left_behind(target):
    run = " ".join(all_of(target, "RUN"))
    assert "pip install --requirement /tmp/requirements.txt" in run
    assert environment(target)["PIP_NO_CACHE_DIR"] == "1"
    assert "ADD" not in [w for w, _ in STAGES[target]]
    for install in re.findall(r"apt-get install[^&]*", run):
        assert "--no-install-recommends" in install
        assert "rm -rf /var/lib/apt/lists/*" in run
    assert "curl" not in run


def test_both_targets_end_alike():
    """What is written twice stays the same; only what torch compiles is kept in one place more."""

    def end(target: str) -> list[tuple[str, str]]:
        lines = STAGES[target]
        return [
            line for line in lines[lines.index(("COPY", "--from=app /app /app")) :] if "TORCH" not in line[1]
        ]

    assert end("cpu") == end("cuda")


def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_compose_starts_these_targets_with_a_database_and_no_password_of_its_own():
    services = compose()["services"]
    for name, target in (("app", "cpu"), ("app-cuda", "cuda")):
        service = services[name]
        assert service["build"]["target"] == target
        assert service["depends_on"] == {"db": {"condition": "service_healthy"}}
        assert service["ports"] == ["127.0.0.1:7860:7860"], "only a proxy on the same host reaches it"
        assert service["volumes"] == ["home:/data"]
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a path inside the container
        assert service["cap_drop"] == ["ALL"]
        assert service["environment"]["DATABASE_URL"].startswith("postgresql://triage:${POSTGRES_PASSWORD:?")
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["db"]["image"])
    assert "ports" not in services["db"]
    assert services["db"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert set(compose()["volumes"]) == {"home", "database"}


def test_compose_sets_nothing_that_the_program_does_not_know():
    known = "".join(p.read_text("utf-8") for p in (ROOT / "wfgy_triage").rglob("*.py"))
    known += Path(uvicorn.config.__file__).read_text("utf-8")
    for service in ("app", "app-cuda"):
        for name in compose()["services"][service]["environment"]:
            assert name in known, name


def test_a_hosted_space_gets_what_is_pinned_here():
    front = yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---")[1])
    pins = dict(
        re.findall(r"(?m)^([\w-]+)(?:\[\w+\])?==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"))
    )
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins["gradio"]
    assert (ROOT / front["app_file"]).is_file()
    assert ARGUMENTS["PYTHON_IMAGE"].startswith(f"python:{front['python_version']}.")
    assert len(front["short_description"]) <= 80
