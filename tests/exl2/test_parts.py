import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exl2.test_allocation import SMOLLM2
from wfgy_triage.errors import InputError
from wfgy_triage.exl2.allocation import Linear, rate
from wfgy_triage.exl2.modules import DECODER_LINEARS
from wfgy_triage.exl2.parts import parse_protection, part_linears, protected_head, rates_by_linear
from wfgy_triage.exl2.plan import allocate_at

LINEARS = [f"model.layers.{block}.{name}" for block in range(12) for name in DECODER_LINEARS]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("all", LINEARS),
        ("mlp", [k for k in LINEARS if ".mlp." in k]),
        ("attn 0-0", [k for k in LINEARS if k.startswith("model.layers.0.self_attn.")]),
        ("mlp 9-11", [k for k in LINEARS if ".mlp." in k and int(k.split(".")[2]) >= 9]),
        ("attn 1", [k for k in LINEARS if k.startswith("model.layers.1.self_attn.")]),
        ("model.layers.1.mlp", [f"model.layers.1.mlp.{n}_proj" for n in ("gate", "up", "down")]),
        ("model.layers.1.mlp.up_proj", ["model.layers.1.mlp.up_proj"]),
    ],
)
def test_a_part_names_its_linears(part, expected):
    found = part_linears(part, [*reversed(LINEARS), "lm_head"])
    assert sorted(found) == sorted(expected)
    assert [int(k.split(".")[2]) for k in found] == sorted(int(k.split(".")[2]) for k in found)


@pytest.mark.parametrize(
    "part", ["", "mlp 12-14", "mlp 5-4", "model.layers.1.ml", "lm_head", "MLP", "mlp 0-"]
)
def test_a_part_that_names_nothing_is_refused(part):
    with pytest.raises(InputError, match="No layer"):
        part_linears(part, LINEARS)


def test_the_higher_rate_counts_where_parts_overlap():
    rates = rates_by_linear({"mlp": 6.0, "all": 4.0, "mlp 3-3": 5.0, "head": 8}, LINEARS)
    assert set(rates) == set(LINEARS)
    assert {rate for key, rate in rates.items() if ".mlp." in key} == {6.0}
    assert {rate for key, rate in rates.items() if ".self_attn." in key} == {4.0}


def test_the_head_takes_head_options_only():
    assert protected_head({"mlp": 5.5, "head": 8}, 6) == 8
    assert protected_head({"lm_head": 4}, 6) == 6
    with pytest.raises(InputError, match=r"6\.5-bit head"):
        protected_head({"head": 6.5}, 6)


def test_protection_is_read_from_the_command_line():
    assert parse_protection(["mlp  25-29=6", "head=8", "model.layers.1=4.5"]) == {
        "mlp 25-29": 6.0, "head": 8.0, "model.layers.1": 4.5,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["mlp", "=6", "mlp=", "mlp=six", "6"])
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match="PART=BPW"):
        parse_protection([text])


@given(
    low=st.floats(2.4, 5.0),
    high=st.floats(5.5, 6.5),
    blocks=st.sets(st.integers(0, 29), min_size=1, max_size=8),
)
def test_every_rate_is_met_by_the_linears_that_share_it(low, high, blocks):
    rates = {x.key: high if int(x.key.split(".")[2]) in blocks else low for x in SMOLLM2}
    choice = allocate_at(rates, SMOLLM2, {})
    for bpw in (low, high):
        group: list[Linear] = [x for x in SMOLLM2 if rates[x.key] == bpw]
        if group:
            assert bpw - 0.4 < rate(group, choice) <= bpw
