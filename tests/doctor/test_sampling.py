"""What folders suggest of sampling is told where it differs, and never a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import edit_json
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.doctor.summary import diagnose_findings

FILE = "generation_config.json"


def changed(fp16: dict[str, Any], exl2: dict[str, Any]):
    def change(first: Path, second: Path) -> None:
        edit_json(first / FILE, lambda d: d.update(fp16))
        edit_json(second / FILE, lambda d: d.update(exl2))

    return change


@pytest.mark.parametrize(
    ("fp16", "exl2", "state", "seen"),
    [
        ({}, {}, "PASS", "of both folders suggests: the likeliest word each time."),
        (
            {"do_sample": True, "top_p": 0.9},
            {"do_sample": True, "top_p": 0.9, "top_k": 50},
            "PASS",
            "top_p 0.9, top_k 50",
        ),
        # A temperature that no program uses differs in nothing that counts.
        ({}, {"temperature": 0.7}, "PASS", "likeliest word"),
        ({}, {"eta_cutoff": 0.002}, "PASS", "likeliest word"),
        ({}, {"do_sample": True}, "WARN", "FP16 the likeliest word each time; EXL2 temperature 1, top_k 50."),
        ({"no_repeat_ngram_size": 3}, {}, "WARN", "FP16 no_repeat_ngram_size 3; EXL2 nothing."),
        ({"num_beams": 2}, {"num_beams": 2}, "PASS", "likeliest word"),
        ({}, {"do_sample": True, "temperature": -1}, "WARN", "temperature -1, which is not possible"),
    ],
)
def test_a_difference_is_told_and_accuses_nobody(fp16, exl2, state, seen, copy_with):
    found = check_folders(copy_with(changed(fp16, exl2)))
    (line,) = [f for f in found if f.check == "same_sampling"]
    assert line.state is Outcome(state)
    assert seen in line.seen
    assert line.cause is None
    assert ("sampling=suggested" in line.do) == (state == "WARN")
    assert diagnose_findings(found).cause == "nothing_found"
