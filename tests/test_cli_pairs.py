"""`pairs list` and `pairs check` as an admin meets them."""

from __future__ import annotations

import pytest

from tests.commands import call
from tests.engines.conftest import save_tokenizer
from tests.engines.stub_server import Stub, serving


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home" / "m"
    folder.mkdir(parents=True)
    save_tokenizer(folder)
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    return tmp_path / "home"


def test_a_server_is_asked_and_its_answers_are_told_in_plain_words(home):
    with serving(Stub()) as stub:
        stub.models = {"data": [{"id": "mistral", "owned_by": "tabbyAPI"}]}
        stub.loaded = {"id": "mistral", "parameters": {"cache_mode": "Q8", "max_seq_len": 2048}}
        (home / "pairs.yaml").write_text(
            f"pairs:\n  - id: tabby\n    fp16: m\n    engine:\n      server: {{url: '{stub.url}'}}\n"
            "  - id: dead\n    fp16: m\n    engine:\n"
            "      server: {url: 'http://127.0.0.1:9/v1', retries: 0, key: NO_SUCH_KEY}\n"
            "  - {id: folders, fp16: m, exl2: m}\n"
        )
        found = call(home, "pairs", "check", "tabby")
    assert found.returncode == 0, found.stderr
    said = " ".join(found.stdout.split())
    assert "EXL2 at" in said
    assert "It answers, and is TabbyAPI." in said
    assert "Asked is mistral." in said
    assert "Q8" in said
    assert "Texts of up to 2,048 tokens." in said
    dead = call(home, "pairs", "check", "dead")
    assert dead.returncode == 2
    assert "NO_SUCH_KEY is not set" in " ".join(dead.stderr.split())
    folders = call(home, "pairs", "check", "folders")
    assert folders.returncode == 2
    assert "No side of the pair 'folders' is asked on a server" in " ".join(folders.stderr.split())
    listed = call(home, "pairs", "list")
    assert "tabby" in listed.stdout
    assert "(EXL2 on a server)" in " ".join(listed.stdout.split())
