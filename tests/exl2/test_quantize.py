import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfgy_triage.errors import ProbeError
from wfgy_triage.exl2.codec import decode_linear, encode_linear
from wfgy_triage.exl2.gptq import input_hessian, prepare_inputs, quantize_gptq
from wfgy_triage.exl2.layout import BIT_WIDTHS, make_groups
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS
from wfgy_triage.exl2.rtn import quantize_rtn
from wfgy_triage.exl2.scales import search_scales


def correlated_inputs(tokens, features, seed=0):
    """Inputs with a few strong directions, as the inputs of a transformer layer have."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator) / features**0.5
    strength = torch.logspace(0.7, -0.7, features)[torch.randperm(features, generator=generator)]
    return torch.randn(tokens, features, generator=generator) * strength @ mixing


def weight_matrix(columns, rows, seed=0):
    return torch.randn(columns, rows, generator=torch.Generator().manual_seed(seed)) * 0.02


def packed_and_back(linear, columns):
    tensors = encode_linear(linear.codes, linear.qscale, linear.scale_max, linear.groups, linear.permutation)
    return decode_linear(tensors, linear.groups, columns)


@pytest.mark.parametrize("preset", [*PRESETS, *HEAD_PRESETS.values()], ids=lambda p: p.name)
def test_what_is_written_decodes_to_the_quantizers_own_weights(preset):
    weight, groups = weight_matrix(40, 192), preset.groups(192)
    statistics = prepare_inputs(input_hessian(correlated_inputs(256, 192)))
    for linear in (
        quantize_gptq(weight, groups, statistics),
        quantize_rtn(weight, groups, torch.arange(192)),
    ):
        decoded = packed_and_back(linear, 40)
        assert torch.equal(decoded.view(torch.int16), linear.weight.view(torch.int16))
        assert torch.isfinite(decoded).all()


@given(
    bits=st.sampled_from(BIT_WIDTHS),
    rows=st.integers(1, 4).map(lambda n: 32 * n),
    columns=st.integers(1, 50),
    magnitude=st.sampled_from([1e-6, 1e-4, 0.02, 3.0]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_rounding_round_trips_for_all_magnitudes(bits, rows, columns, magnitude, seed):
    weight = weight_matrix(columns, rows, seed) / 0.02 * magnitude
    weight[0] = 0
    linear = quantize_rtn(weight, make_groups([(bits, rows)]), torch.arange(rows))
    decoded = packed_and_back(linear, columns)
    assert torch.equal(decoded.view(torch.int16), linear.weight.view(torch.int16))
    assert decoded[0].eq(0).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_gptq_beats_rounding_in_output_space(bits):
    weight, inputs = weight_matrix(96, 128), correlated_inputs(1024, 128)
    groups = make_groups([(bits, 128)])
    statistics = prepare_inputs(input_hessian(inputs))
    fresh = correlated_inputs(3072, 128)[1024:]  # same distribution, other tokens

    def error(quantized):
        return float(((quantized.float() - weight) @ fresh.T).square().sum())

    gptq = error(quantize_gptq(weight, groups, statistics).weight)
    rounded = error(quantize_rtn(weight, groups, statistics.permutation).weight)
    assert gptq < 0.8 * rounded


def test_error_falls_with_every_bit():
    weight = weight_matrix(64, 128)
    errors = []
    for bits in sorted(BIT_WIDTHS):
        linear = quantize_rtn(weight, make_groups([(bits, 128)]), torch.arange(128))
        errors.append(float((linear.weight.float() - weight).norm() / weight.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.12  # 4 bits on normal weights
    assert errors[-1] < 0.01  # 8 bits


def test_the_scale_search_beats_the_plain_maximum():
    weights = weight_matrix(64, 128).T.contiguous()
    found = search_scales(weights, 3)
    plain = weights.abs().amax(0) / 3.5

    def error(scale):
        return float((((weights / scale).round().clamp(-4, 3) * scale) - weights).abs().pow(3.5).sum())

    assert error(found.scale) < error(plain)
    assert found.qscale.min() >= 1
    assert found.qscale.max() == 16


def test_activation_order_puts_strong_inputs_first():
    inputs = torch.randn(512, 64, generator=torch.Generator().manual_seed(1))
    inputs[:, 17] *= 30
    statistics = prepare_inputs(input_hessian(inputs))
    assert int(statistics.permutation[0]) == 17
    assert sorted(statistics.permutation.tolist()) == list(range(64))


def test_inputs_that_never_fire_or_repeat_are_survived():
    inputs = correlated_inputs(20, 64)  # fewer tokens than features: a singular Hessian
    inputs[:, 5] = 0
    statistics = prepare_inputs(input_hessian(inputs))
    linear = quantize_gptq(weight_matrix(32, 64), make_groups([(4, 64)]), statistics)
    assert torch.isfinite(linear.weight).all()


def test_inputs_that_are_not_finite_are_an_error():
    hessian = torch.eye(32)
    hessian[3, 3] = float("nan")
    with pytest.raises(ProbeError, match="calibration inputs"):
        prepare_inputs(hessian)
