from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.chain import Layout, read_steps
from wfgy_triage.measure.collapse import Sign, first_collapse, habits_of
from wfgy_triage.probes.long_chain import layout_of
from wfgy_triage.workload.chains import load_chains

LIST = Layout(",")
LINES = Layout("\n", arrow=True)
NUMBERED = Layout("\n", arrow=True, first_label=4)
DAYS = Layout("\n", arrow=True, words=True)


def found(text: str, beginning: str, layout: Layout):
    steps = read_steps(text, layout, 100, cut=True)
    return first_collapse(text, steps, layout, habits_of(beginning, layout))


@pytest.mark.parametrize(
    ("text", "beginning", "layout", "expected"),
    [
        (" 40, 50, 60,", " 10, 20, 30,", LIST, None),
        (" 40, 40, 50,", " 10, 20, 30,", LIST, (1, Sign.REPEATED)),
        (" 30, 40,", " 10, 20, 30,", LIST, (0, Sign.REPEATED)),
        (" 40, 50, 40,", " 10, 20, 30,", LIST, (2, Sign.REPEATED)),
        (" 40, well, 60,", " 10, 20, 30,", LIST, (1, Sign.UNREADABLE)),
        # Wrong, but nothing in the text shows it: only the truth would.
        (" 41, 52, 63,", " 10, 20, 30,", LIST, None),
        # A beginning that repeats makes repeating normal, except twice in a row.
        (" 1, 2, 1, 2,", " 1, 2, 1, 2,", LIST, None),
        (" 1, 1, 2,", " 1, 2, 1, 2,", LIST, (1, Sign.REPEATED)),
        ("4 -> 5\n5 -> 6\n", "2 -> 3\n3 -> 4\n", LINES, None),
        ("4 -> 5\n7 -> 8\n", "2 -> 3\n3 -> 4\n", LINES, (1, Sign.DISCONNECTED)),
        ("Sunday -> Monday\nFriday -> Saturday\n", "Friday -> Saturday\nSaturday -> Sunday\n", DAYS,
         (1, Sign.DISCONNECTED)),
        ("4. pay 1 -> 6\n5. pay 1 -> 5\n", "Start 10.\n1. pay 1 -> 9\n2. pay 1 -> 8\n3. pay 1 -> 7\n", NUMBERED,
         None),
        ("4. pay 1 -> 6\n7. pay 1 -> 5\n", "Start 10.\n1. pay 1 -> 9\n2. pay 1 -> 8\n3. pay 1 -> 7\n", NUMBERED,
         (1, Sign.SKIPPED)),
    ],
)  # fmt: skip
def test_signs(text, beginning, layout, expected):
    assert found(text, beginning, layout) == expected


@pytest.mark.parametrize("chain", load_chains().chains, ids=lambda c: c.id)
def test_no_right_chain_is_accused(chain):
    assert found(chain.gold_text, chain.prompt, layout_of(chain)) is None


@given(st.integers(0, 500), st.integers(1, 9), st.integers(3, 20), st.data())
def test_a_stuck_value_is_found_where_it_sticks(start, by, count, data):
    at = data.draw(st.integers(1, count - 1))
    values = [start + by * (i + 1) for i in range(count)]
    values[at:] = [values[at - 1]] * (count - at)
    beginning = f" {start - 2 * by}, {start - by}, {start},"
    assert found("".join(f" {v}," for v in values), beginning, LIST) == (at, Sign.REPEATED)
