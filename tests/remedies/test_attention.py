"""The attention back end switched off: where it is tried, on what it is asked, and how it reaches a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from tests.engines.fake_exllamav2 import fake_library
from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import GOLD, PAIR, FailedRun, no_findings
from tests.runs.run_fakes import make_settings
from wfgy_triage.engines import exllamav2_loading
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.base import Case, NotApplicableError, Shop
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.renders import render
from wfgy_triage.runs.trials import Workshop

INSTALLED = {"backend": "exllamav2", "attention": "installed"}


class Masked(ScriptedEngine):
    """EXL2 once it has its mask."""

    def __init__(self) -> None:
        super().__init__(GOLD)
        self.closed = False

    def close(self) -> None:
        self.closed = True


class UnmaskedRun(FailedRun):
    """A run whose EXL2 side answers badly for as long as the library takes the attention that is installed."""

    def __init__(self, **engine: Any) -> None:
        super().__init__()
        self.engine = engine or INSTALLED
        self.opened: list[tuple[Path, dict[str, Any], Masked]] = []
        self.fails: PrerequisiteError | None = None

    def open_exl2(self, folder: Path, **changed: Any) -> Masked:
        if self.fails is not None:
            raise self.fails
        self.opened.append((folder, changed, Masked()))
        return self.opened[-1][2]

    def case(self, *how: Any, **more: Any) -> Case:
        shop = Shop(self.open_exl2, no_findings, Path())
        return replace(super().case(*how, **more), pair=replace(PAIR, engine=self.engine), shop=shop)


def test_the_same_questions_are_asked_with_the_mask_and_the_change_is_recommended():
    run = UnmaskedRun()
    (trial,) = run.search(get_remedy("no_sdpa"))
    assert trial.facts.restored == trial.facts.lost > 0
    assert trial.status in ("verified", "better")
    assert run.recommended()["patch"] == {"model.no_sdpa": True}
    asked = {s.key.question for s in run.side("try:no_sdpa")}
    assert asked >= {s.key.question for s in run.side("exl2")}
    assert {(folder, changed["attention"]) for folder, changed, _ in run.opened} == {(PAIR.exl2, "causal")}
    assert all(engine.closed for _, _, engine in run.opened)


def test_an_attention_that_sees_the_future_all_the_same_is_no_change():
    run = UnmaskedRun()
    run.fails = PrerequisiteError("It sees the future.", "Install flash-attn.", cause="noncausal_prefill")
    (trial,) = run.search(get_remedy("no_sdpa"))
    assert (trial.status, trial.facts.reason) == ("skipped", "It sees the future. Install flash-attn.")


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ({"backend": "reference", "device": "cuda", "attention": "installed"}, "does not run in exllamav2"),
        ({"device": "cpu"}, "does not run in exllamav2"),
        ({"server": {"url": "http://h/v1"}}, "does not run in exllamav2"),
        ({"backend": "exllamav2"}, "switched off already"),
    ],
)
def test_there_is_nothing_to_try_and_the_reason_is_the_true_one(engine, why):
    run = UnmaskedRun(**engine)
    with pytest.raises(NotApplicableError, match=why):
        get_remedy("no_sdpa").candidates(run.case())
    assert run.opened == []


def test_the_change_is_written_for_servers_and_scripts():
    files = render(Patch({"model.no_sdpa": True}), Facts("fp16", "exl2"))
    assert "EXLLAMA_NO_SDPA=1" in str(files["shell"])
    assert "config.no_sdpa = True" in str(files["python"])


def test_the_library_opened_once_more_reads_prompts_with_a_mask(tmp_path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "model"
    build_model(0, **FAMILIES["llama"]).half().save_pretrained(folder)
    save_tokenizer(folder)
    monkeypatch.setattr(exllamav2_loading, "check_gpu", lambda: None)
    monkeypatch.setattr(exllamav2_loading, "load_library", fake_library)
    pair = Pair("p", "P", folder, folder, engine=INSTALLED)
    with Workshop(pair, None, open_engine, _no_checks, _no_checks, make_settings(tmp_path)) as workshop:
        seen = []
        for changed in ({}, {"attention": "causal"}):
            engine = workshop.shop.open_exl2(folder, **changed)
            seen.append(sees_the_future(engine, future_effect(engine)))
            engine.close()
    assert seen == [True, False]


def _no_checks(*given: object) -> Sequence[Any]:
    raise AssertionError("no folder is examined")
