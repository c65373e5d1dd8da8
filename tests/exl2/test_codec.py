import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exl2.reference import bits_of, decode_exl2, unpack_column
from wfgy_triage.exl2.codec import (
    decode_linear,
    encode_linear,
    group_scales,
    pack_bits,
    pack_nibbles,
    unpack_bits,
    unpack_nibbles,
)
from wfgy_triage.exl2.layout import make_groups, parse_groups

WIDTHS = st.sampled_from([2, 3, 4, 5, 6, 8])
SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def random_linears(draw):
    """A legal random linear: any descending bit mix, group sizes, columns, permutation, scales."""
    widths = sorted(draw(st.lists(WIDTHS, min_size=1, max_size=4)), reverse=True)
    plan = [(bits, 32 * draw(st.integers(1, 3))) for bits in widths]
    columns = draw(st.integers(1, 70))
    generator = torch.Generator().manual_seed(draw(SEEDS))
    groups = make_groups(plan)
    codes = torch.cat(
        [torch.randint(0, 1 << bits, (rows, columns), generator=generator) for bits, rows in plan]
    )
    qscale = torch.randint(1, 17, (len(plan), columns), generator=generator)
    # From far below the subnormal limit after the division by 256 to weights no model has.
    exponents = torch.randint(-12, 4, (len(plan),), generator=generator)
    scale_max = (torch.rand(len(plan), generator=generator) + 0.5) * 2.0**exponents
    permutation = torch.randperm(codes.shape[0], generator=generator)
    return codes, qscale, scale_max.to(torch.float16), groups, permutation


@given(bits=WIDTHS, blocks=st.integers(1, 5), columns=st.integers(1, 40), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_packing_round_trip_and_bit_order(bits, blocks, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 1 << bits, (32 * blocks, columns), generator=generator)
    words = pack_bits(values, bits)
    assert words.shape == (blocks * bits, columns)
    assert torch.equal(unpack_bits(words, bits), values.to(torch.int32))
    assert unpack_column(words[:, -1].tolist(), bits, 32 * blocks) == values[:, -1].tolist()


@given(groups=st.integers(1, 4), words=st.integers(1, 5), seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_nibbles_round_trip(groups, words, seed):
    values = torch.randint(0, 16, (groups, 8 * words), generator=torch.Generator().manual_seed(seed))
    packed = pack_nibbles(values)
    assert torch.equal(unpack_nibbles(packed), values.to(torch.int32))
    assert (int(packed[0, 0]) >> 12) & 15 == int(values[0, 3])


@given(linear=random_linears())
@settings(max_examples=40, deadline=None)
def test_decode_equals_the_scalar_reference(linear):
    codes, qscale, scale_max, groups, permutation = linear
    tensors = encode_linear(codes, qscale, scale_max, groups, permutation)
    columns = codes.shape[1]
    assert tensors["q_weight"].shape[1] % 32 == 0
    stored = parse_groups(tensors["q_groups"].tolist(), tensors["q_weight"].shape[0], codes.shape[0], "x")
    assert stored == groups
    decoded = decode_linear(tensors, stored, columns)
    expected = decode_exl2({k: v.numpy() for k, v in tensors.items()}, columns)
    assert decoded.shape == (columns, codes.shape[0])
    assert np.array_equal(bits_of(decoded.numpy()), bits_of(expected))


@given(linear=random_linears())
@settings(max_examples=20, deadline=None)
def test_padding_columns_decode_to_zero(linear):
    codes, qscale, scale_max, groups, permutation = linear
    tensors = encode_linear(codes, qscale, scale_max, groups, permutation)
    padded = tensors["q_weight"].shape[1]
    everything = decode_linear(tensors, groups, padded)
    assert everything[codes.shape[1] :].eq(0).all()


def test_subnormal_scales_are_kept_and_rounded_in_order():
    scale_max = torch.tensor([0.0031], dtype=torch.float16)
    qscale = torch.arange(1, 17).unsqueeze(0)
    scales = group_scales(qscale, scale_max)[0]
    step = round(scale_max.item() / 256 * 2**24) / 2**24  # fp16 subnormals are multiples of 2^-24
    assert 0 < step < 2**-14
    squares = (qscale[0] ** 2).double()
    assert torch.equal(scales, (squares * step).to(torch.float16))
    rounded_once = (squares * scale_max.double() / 256).to(torch.float16)
    assert (scales != rounded_once).any()


def test_prescale_is_applied_before_the_first_rounding():
    scale_max = torch.tensor([0.0503], dtype=torch.float16)
    scaled = group_scales(torch.tensor([[16]]), scale_max, prescale=0.5)
    step = scale_max * (0.5 / 256)
    assert scaled[0, 0] == torch.tensor(256.0, dtype=torch.float16) * step[0]


def test_bias_travels_with_the_linear():
    groups = make_groups([(4, 32)])
    bias = torch.tensor([0.5, -1.25])
    tensors = encode_linear(
        torch.zeros(32, 2, dtype=torch.int32), torch.ones(1, 2, dtype=torch.int32),
        torch.ones(1, dtype=torch.float16), groups, torch.arange(32), bias,
    )  # fmt: skip
    assert tensors["bias"].dtype == torch.float16
    assert tensors["bias"].tolist() == [0.5, -1.25]
