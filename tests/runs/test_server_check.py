"""`pairs check`: what a server can be asked for and what was seen of it, in plain lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import stub_server as say
from tests.engines.conftest import save_tokenizer
from tests.engines.stub_server import Stub, serving
from wfgy_triage.pairs import NO_FOLDER, Pair
from wfgy_triage.runs.server_check import check_servers


@pytest.fixture
def stub():
    with serving(Stub()) as found:
        yield found


def lines(stub: Stub, folder: Path) -> str:
    save_tokenizer(folder)
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}')
    pair = Pair("served", "Served", folder, NO_FOLDER, engine={"server": {"url": stub.url, "retries": 0}})
    (found,) = check_servers(pair)
    assert found.answers
    return " ".join(found.lines)


@pytest.mark.parametrize(
    ("seeds", "seen"), [(True, "the server drew the same text."), (False, "drew two different texts")]
)
def test_an_admin_reads_whether_drawn_answers_come_again(stub, tmp_path, seeds, seen):
    stub.otherwise = say.draws(seeds)
    said = lines(stub, tmp_path)
    assert seen in said
    assert "cuts long prompts" not in said


def test_an_admin_reads_that_a_cut_prompt_would_not_be_seen(stub, tmp_path):
    stub.otherwise = say.stream(say.event("fine"), say.event(end="stop"))
    assert "Whether the server cuts long prompts is not seen" in lines(stub, tmp_path)
