import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.allocation import Linear, Sensitivity, allocate, expected_error, rate
from wfgy_triage.exl2.layout import BIT_WIDTHS
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS

SMOLLM2 = [
    Linear(f"model.layers.{layer}.{name}", rows, columns)
    for layer in range(30)
    for name, rows, columns in [
        ("q_proj", 576, 576), ("k_proj", 576, 192), ("v_proj", 576, 192), ("o_proj", 576, 576),
        ("gate_proj", 576, 1536), ("up_proj", 576, 1536), ("down_proj", 1536, 576),
    ]
]  # fmt: skip


@given(
    preset=st.sampled_from([*PRESETS, *HEAD_PRESETS.values()]),
    rows=st.integers(1, 500).map(lambda n: 32 * n),
)
@settings(max_examples=200, deadline=None)
def test_every_preset_splits_every_width_legally(preset, rows):
    groups = preset.groups(rows)
    assert sum(g.rows for g in groups) == rows
    assert [g.bits for g in groups] == sorted((g.bits for g in groups), reverse=True)
    assert all(g.rows % 32 == 0 and g.bits in BIT_WIDTHS for g in groups)
    assert all(b.packed_row == a.packed_row + a.packed_rows for a, b in zip(groups, groups[1:], strict=False))


# Worked out by hand from the format: weights, nibble scales, maxima, group table and permutation.
@pytest.mark.parametrize(
    ("name", "bpw"),
    [("3/2b 64g", 2.22), ("4/3b 128g", 3.29), ("4b 128g", 4.08), ("4b 32g", 4.17), ("5/4b 128g", 4.29),
     ("5b 32g", 5.17), ("6/5b 128g", 5.29), ("6b 128g", 6.08), ("8b 128g", 8.08)],
)  # fmt: skip
def test_uniform_rates_on_a_real_shape(name, bpw):
    shares = {
        "3/2b 64g": (0.1, 0.9),
        "4/3b 128g": (0.1, 0.9),
        "5/4b 128g": (0.1, 0.9),
        "6/5b 128g": (0.1, 0.9),
    }
    preset = next(p for p in PRESETS if p.name == name and p.shares == shares.get(name, (1.0,)))
    assert round(rate(SMOLLM2, dict.fromkeys((linear.key for linear in SMOLLM2), preset)), 2) == bpw


@pytest.mark.parametrize(
    ("bits", "bpw"), [(2, 2.79), (3, 3.29), (4, 4.46), (5, 5.26), (6, 6.48), (8, 8.04)]
)  # fmt: skip
def test_head_rates_on_a_real_shape(bits, bpw):
    head = Linear("lm_head", 576, 49152)
    assert round(rate([head], {"lm_head": HEAD_PRESETS[bits]}), 2) == bpw


@given(bpw=st.floats(2.3, 8.5))
@settings(max_examples=30, deadline=None)
def test_the_rate_is_met_from_below_and_closely(bpw):
    reached = rate(SMOLLM2, allocate(SMOLLM2, bpw))
    assert reached <= bpw
    assert reached > min(bpw, 8.08) - 0.03


@given(low=st.floats(2.3, 8.0), more=st.floats(0.1, 2.0))
@settings(max_examples=20, deadline=None)
def test_more_bits_never_raise_the_expected_error(low, more):
    def error(bpw):
        choice = allocate(SMOLLM2, bpw)
        return sum(expected_error(choice[x.key], x.in_features) * x.size for x in SMOLLM2)

    assert error(low + more) <= error(low)


def test_a_sensitive_linear_gets_more_bits_than_its_twins():
    linears = [Linear(f"l{i}", 576, 576, Sensitivity(50.0 if i == 3 else 1.0)) for i in range(8)]
    choice = allocate(linears, 4.2)
    rates = {x.key: choice[x.key].storage_bits(576, 576) for x in linears}
    assert all(rates["l3"] > bits for key, bits in rates.items() if key != "l3")


def test_concentrated_energy_earns_a_precise_head_of_rows():
    concentrated = Sensitivity(1.0, (0.9, *[0.1 / 47] * 47))
    flat = Sensitivity(1.0, (1 / 48,) * 48)
    linears = [
        Linear(f"{name}{i}", 1536, 576, s) for i in range(4) for name, s in (("c", concentrated), ("f", flat))
    ]
    choice = allocate(linears, 4.4)
    assert all(choice[f"c{i}"].bits[0] > choice[f"f{i}"].bits[0] for i in range(4))


def test_two_bits_only_where_nothing_else_fits():
    assert min(b for p in allocate(SMOLLM2, 3.3).values() for b in p.bits) == 3
    assert min(b for p in allocate(SMOLLM2, 2.6).values() for b in p.bits) == 2


def test_an_impossible_rate_says_what_is_possible():
    with pytest.raises(InputError, match="at least 2\\."):
        allocate(SMOLLM2, 2.0)


def test_a_width_that_cannot_be_stored_is_refused():
    with pytest.raises(InputError, match="100"):
        PRESETS[0].groups(100)
