"""Changes of files through whole runs: small broken pairs, the real doctor, and what the run recommends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.faults import FAULTS, Fault
from tests.doctor.conftest import copy_with, healthy  # noqa: F401 - fixtures
from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import BROKEN, GOLD
from tests.remedies.test_files import EXPECTED
from tests.runs.run_fakes import fake_description, make_settings
from wfgy_triage.catalog import validate_result
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import passed, skipped
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.probes import deploy_mismatch
from wfgy_triage.runs import trials
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.tools import RunTools, default_tools
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus
from wfgy_triage.store.runs import RunRepository

Run = Callable[..., RunRecord]
CHECKS = load_checks()


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[RunRepository]:
    database = open_database(make_settings(tmp_path).database_url)
    yield RunRepository(database)
    database.close()


@pytest.fixture(scope="module")
def siblings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where re-quantized folders are kept: all pairs here have one FP16 side, so one is made."""
    return tmp_path_factory.mktemp("siblings")


@pytest.fixture
def run(repo: RunRepository, tmp_path: Path, siblings: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a pair, to its end; the machine's own checks are left out."""
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed" / "siblings").symlink_to(siblings)
    machine = tuple(skipped(c.id, "not asked") for c in CHECKS.values() if c.group == "environment")
    monkeypatch.setattr(deploy_mismatch, "check_environment", lambda: machine)

    def go(
        pair: Pair,
        symptom: str = "deploy_mismatch",
        tools: RunTools | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        record: RunRecord | None = None,
        **options: str,
    ) -> RunRecord:
        settings = make_settings(tmp_path)
        tools = replace(tools or default_tools(), describe_pair=fake_description)
        record = record or repo.create(RunSpec(symptom, pair.id, options=options), worker_id="w.1")
        models = ModelCache(tools.open_engine)
        execute_run(record, Bench(repo, settings, tools, models, "w.1", should_stop), pair)
        models.close()
        found = repo.get(record.id)
        if found.result is not None:
            validate_result(found.result)
        overlays = tmp_path / "changed" / "overlays"
        assert not overlays.exists() or list(overlays.iterdir()) == []
        return found

    return go


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_every_fault_of_the_folders_is_mended_or_the_checkpoint_made_again(fault: Fault, copy_with, run: Run):  # noqa: F811
    pair = copy_with(fault)
    before = contents(pair.exl2)
    record = run(pair)
    assert contents(pair.exl2) == before
    assert (record.status, record.state) == (RunStatus.DONE, "FAIL")
    found = record.result["recommendation"]
    assert found["verified"], found["trials"]
    assert (found["state_before"], found["state_after"]) == ("FAIL", "PASS")
    assert found["trials"][-1]["effect"]["after"] == 0.0
    again = {"quantize_again 6": {"quantize.bpw": 6.0, "quantize.head_bits": 6}}
    ((candidate, patch),) = EXPECTED.get(fault.id, again).items()
    assert (found["candidate"], found["patch"]) == (candidate, patch)
    assert "python -m wfgy_triage quantize" in str(found["renders"]) or fault.id in EXPECTED


def test_of_two_faults_one_change_mends_one_and_together_they_mend_both(copy_with, run: Run):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        faults.template_other(fp16, exl2)
        faults.rope_wrong(fp16, exl2)

    found = run(copy_with(breaks)).result["recommendation"]
    assert [(t["id"], t["status"]) for t in found["trials"]] == [
        ("fix_template", "better"),
        ("fix_all", "verified"),
    ]
    assert found["trials"][0]["reason"] == f"Still failing: {CHECKS['same_rope'].title}."
    assert (found["candidate"], found["verified"]) == ("fix_all", True)


def test_a_fault_that_no_file_mends_keeps_a_partial_change_from_being_called_verified(copy_with, run: Run):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        faults.rope_missing(fp16, exl2)
        faults.scales_halved(fp16, exl2)

    found = run(copy_with(breaks)).result["recommendation"]
    assert (found["candidate"], found["verified"], found["state_after"]) == ("fix_rope", False, "FAIL")
    assert "fewer checks fail" in found["summary"]
    assert CHECKS["even_layers"].title in found["summary"]


def test_no_change_is_tried_where_none_is_wanted(copy_with, run: Run):  # noqa: F811
    assert run(copy_with(faults.rope_missing), fix="no").result["recommendation"] is None


class Engine(ScriptedEngine):
    """Answers by what config.json of its folder says."""

    opened: list[Engine]

    def __init__(self, answers: Mapping[str, str], bias: float) -> None:
        super().__init__({**answers, "warm-up-0": "a", "warm-up-1": "b"}, bias)
        self.closed = False

    def close(self) -> None:
        self.closed = True


def scripted(good: Mapping[str, str] = GOLD, opened: list[Engine] | None = None) -> RunTools:
    """Tools whose EXL2 side needs a tie flag to load, and a top-level rope_theta to answer as `good`."""
    opened = [] if opened is None else opened

    def open_engine(folder: Path, *, side: str, **_: object) -> Engine:
        config = json.loads((folder / "config.json").read_text())
        if side == "exl2" and not config["tie_word_embeddings"]:
            raise PrerequisiteError("The folder lacks the tensor lm_head.", "Correct config.json.")
        answers = GOLD if side == "fp16" else good if "rope_theta" in config else BROKEN
        opened.append(Engine(answers, 0.0 if side == "fp16" else 1.0))
        return opened[-1]

    engines = tuple(passed(c.id, "equal") for c in CHECKS.values() if c.group == "engines")
    return replace(default_tools(), open_engine=open_engine, check_engines=lambda fp16, exl2: engines)


def test_questions_are_asked_again_with_the_changed_folder(copy_with, run: Run):  # noqa: F811
    opened: list[Engine] = []
    record = run(copy_with(faults.rope_missing), "json_breaks", scripted(opened=opened))
    found = record.result["recommendation"]
    assert record.state == "FAIL"
    assert record.result["diagnosis"]["cause"] == "rope_mismatch"
    assert (found["candidate"], found["verified"], found["state_after"]) == ("fix_rope", True, "PASS")
    trial = found["trials"][0]
    assert (trial["effect"]["before"], trial["effect"]["after"]) == (0.5, 1.0)
    assert all(engine.closed for engine in opened)


def test_a_pair_that_cannot_be_loaded_is_asked_with_the_change_that_makes_it_loadable(copy_with, run: Run):  # noqa: F811
    opened: list[Engine] = []
    record = run(copy_with(faults.tie_flag_wrong), "json_breaks", scripted(opened=opened))
    assert record.state == "NOT MEASURED"
    found = record.result["recommendation"]
    assert (found["state_before"], found["state_after"]) == ("NOT MEASURED", "PASS")
    assert (found["candidate"], found["verified"]) == ("fix_config same_tie", True)
    assert found["trials"][0]["questions"] > 180
    assert all(engine.closed for engine in opened)


def test_a_pair_that_loads_with_a_change_and_fails_then_is_told_so(copy_with, run: Run):  # noqa: F811
    record = run(copy_with(faults.tie_flag_wrong), "json_breaks", scripted(good=BROKEN))
    found = record.result["recommendation"]
    assert [t["status"] for t in found["trials"]] == ["loads", "skipped"]
    assert (found["candidate"], found["verified"], found["state_after"]) == (
        "fix_config same_tie",
        False,
        "FAIL",
    )
    assert "the model can be loaded" in found["summary"]
    assert "FAIL" in found["summary"]


def test_searches_are_not_repeated_but_the_change_that_makes_the_pair_loadable_is_named(copy_with, run: Run):  # noqa: F811
    record = run(copy_with(faults.tie_flag_wrong), "wrong_snippet", scripted())
    found = record.result["recommendation"]
    assert [t["status"] for t in found["trials"]] == ["loads", "skipped"]
    assert (found["candidate"], found["verified"], found["state_after"]) == (
        "fix_config same_tie",
        False,
        "NOT MEASURED",
    )


def cut_and_nameless(fp16: Path, exl2: Path) -> None:
    """The weights are cut short, and nothing says how they were made."""
    faults.shard_truncated(fp16, exl2)
    faults.edit_json(exl2 / "config.json", lambda d: d.pop("quantization_config"))


@pytest.mark.parametrize("symptom", ["json_breaks", "deploy_mismatch"])
def test_what_nothing_can_mend_says_so_in_every_run(symptom: str, copy_with, run: Run):  # noqa: F811
    found = run(copy_with(cut_and_nameless), symptom, scripted()).result["recommendation"]
    assert found["summary"] == "No change could be tried on this pair."
    reasons = [t["reason"] for t in found["trials"]]
    assert all(reasons)
    assert any("no longer says at how many bits" in r for r in reasons)


def test_a_pair_whose_weights_are_cut_short_is_asked_with_a_new_checkpoint(copy_with, run: Run):  # noqa: F811
    record = run(copy_with(faults.shard_truncated), "json_breaks", scripted())
    found = record.result["recommendation"]
    assert record.state == "NOT MEASURED"
    assert (found["candidate"], found["verified"], found["state_after"]) == ("quantize_again 6", True, "PASS")
    assert "made in" in found["trials"][-1]["note"]


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        (faults.rope_missing, 102),
        (faults.rope_missing, 190),
        (faults.tie_flag_wrong, 30),
        (faults.tie_flag_wrong, 90),
    ],
)
def test_a_run_that_is_stopped_while_it_tries_goes_on_where_it_was(
    fault,  # noqa: ANN001
    at: int,
    copy_with,  # noqa: F811
    run: Run,
    repo: RunRepository,
):
    pair = copy_with(fault)
    whole = run(pair, "json_breaks", scripted())
    cut = repo.create(RunSpec("json_breaks", pair.id), worker_id="w.1")

    def stop() -> bool:
        return len(repo.done_keys(cut.id)) >= at

    run(pair, "json_breaks", scripted(), should_stop=stop, record=cut)
    assert repo.get(cut.id).status is RunStatus.QUEUED
    run(pair, "json_breaks", scripted(), record=repo.lease("w.1", 60))
    assert repo.get(cut.id).state == whole.state

    def told(record: RunRecord) -> list[dict]:
        return [{**t, "seconds": 0} for t in record.result["recommendation"]["trials"]]

    assert told(repo.get(cut.id)) == told(whole)


class Unreadable:
    """A remedy that stumbles over the folder before it has anything to offer."""

    id = "raise_bpw"

    def candidates(self, case: object) -> list[object]:
        raise PrerequisiteError("The weights are truncated.", "Download them again.")


def test_a_remedy_that_cannot_read_its_folder_is_not_tried_and_the_run_goes_on(
    copy_with,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(trials, "remedy_for", lambda remedy_id, pair: Unreadable())
    record = run(copy_with(faults.scales_halved), tools=scripted())
    assert (record.status, record.state) == (RunStatus.DONE, "FAIL")
    (trial,) = record.result["recommendation"]["trials"]
    assert (trial["status"], trial["reason"]) == (
        "skipped",
        "The weights are truncated. Download them again.",
    )
