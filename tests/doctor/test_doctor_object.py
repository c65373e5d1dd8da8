"""The command's state is the one that a run of the symptom has: what was not checked is not said to be right."""

from __future__ import annotations

import pytest

from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import Finding, failed, passed, skipped, warned
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.deploy_mismatch import PROBE
from wfgy_triage.report.terminal import doctor_object
from wfgy_triage.store.records import Sample, SampleKey


def findings(*changed: Finding) -> tuple[Finding, ...]:
    """Every check passed, but for these."""
    instead = {f.check: f for f in changed}
    return tuple(instead.get(c.id) or passed(c.id, "seen") for c in load_checks().values())


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ((), "PASS"),
        ((warned("attention_backend", "x"), skipped("extension_imports", "no GPU")), "PASS"),
        ((skipped("finite_weights", "not opened"),), "NOT MEASURED"),
        ((skipped("finite_weights", "not opened"), failed("same_rope", "x")), "FAIL"),
    ],
)
def test_command_and_probe_agree(tmp_path, changed, state):
    pair = Pair("p", "P", tmp_path / "fp16", tmp_path / "exl2")
    found = findings(*changed)
    assert doctor_object(found, pair)["state"] == state
    samples = [Sample(SampleKey("deploy_mismatch", f.check, 0, 0, "doctor"), f.to_json()) for f in found]
    assert str(PROBE.evaluate(samples, (), None).state) == state


def test_without_a_pair_the_machine_alone_is_judged():
    machine = [f for f in findings(skipped("extension_imports", "no GPU")) if f.group == "environment"]
    assert doctor_object(machine, None)["state"] == "PASS"
    broken = [failed("torch_imports", "x") if f.check == "torch_imports" else f for f in machine]
    assert doctor_object(broken, None)["state"] == "FAIL"
