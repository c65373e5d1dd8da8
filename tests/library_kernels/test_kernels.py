"""What is decoded and rounded here, bit for bit against the library's own kernels, compiled for the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gpu_check.weights import as_loaded
from benchmarks.library_on_cpu.kernels import Kernels, build, compiler, sources
from tests.engines.conftest import build_model, save_tokenizer
from tests.exl2.test_codec import random_linears
from wfgy_triage.engines.cache_rounding import cache_rounding, rounded_together
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.codec import decode_gptq, decode_linear, encode_linear
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.layout import make_groups
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS
from wfgy_triage.exl2.rtn import quantize_rtn

KINDS = {"Q8": 8, "Q6": 6, "Q4": 4}


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    cxx = compiler()
    if cxx is None:
        pytest.skip("a C++ compiler is not there")
    return Kernels(build(tmp_path_factory.mktemp("kernels"), sources(), cxx))


def bits(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.contiguous().view(torch.int16)


@given(linear=random_linears())
@settings(max_examples=60, deadline=None)
def test_any_mix_of_widths_is_reconstructed_as_we_decode_it(kernels, linear):
    codes, qscale, scale_max, groups, permutation = linear
    tensors = encode_linear(codes, qscale, scale_max, groups, permutation)
    columns = codes.shape[1]
    ours = decode_linear(tensors, groups, columns)
    theirs = kernels.exl2(tensors)[:, :columns].T
    assert torch.equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("preset", [*PRESETS, *HEAD_PRESETS.values()], ids=str)
def test_every_mix_that_is_written_here_is_reconstructed_as_we_decode_it(kernels, preset):
    rows, columns = 512, 48
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(columns, rows, generator=generator) * 0.05
    groups = preset.groups(rows)
    made = quantize_rtn(weight, groups, torch.randperm(rows, generator=generator))
    tensors = encode_linear(made.codes, made.qscale, made.scale_max, made.groups, made.permutation, None)
    ours = decode_linear(tensors, made.groups, columns)
    assert torch.equal(bits(ours), bits(kernels.exl2(tensors)[:, :columns].T))


@given(
    seed=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(sorted(KINDS)),
    tokens=st.integers(1, 3),
    spread=st.floats(-6, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_cache_gives_keys_and_values_back_as_the_kernels_do(kernels, seed, kind, tokens, spread):
    heads, head_dim = 8, 64
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(2, tokens, heads, head_dim, generator=generator) * 10.0**spread
    numbers[:, :, 0, :3] = 0
    numbers[:, 0, 1] = 0  # a group of zeros has no scale
    numbers = numbers.half()
    theirs = kernels.cache(numbers[0].flatten(1), numbers[1].flatten(1), KINDS[kind])
    rounding = cache_rounding(kind, heads, head_dim)
    keys, values = numbers[0].transpose(0, 1), numbers[1].transpose(0, 1)
    for ours, those in zip((rounding.keys(keys), rounding.values(values)), theirs, strict=True):
        assert torch.equal(bits(ours.transpose(0, 1).flatten(1)), bits(those))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_layers_rounded_together_are_the_layers_rounded_alone(kind):
    rounding = cache_rounding(kind, 4, 32)
    layers = [torch.randn(4, 3, 1, 32, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    keys, values = rounded_together(rounding, layers[:3], layers[3:])
    assert all(torch.equal(keys[i], rounding.keys(layers[i])) for i in range(3))
    assert all(torch.equal(values[i], rounding.values(layers[3 + i])) for i in range(3))


@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_is_reconstructed_as_we_decode_it(kernels, act_order):
    rows, columns, size = 256, 64, 64
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "qweight": torch.randint(-(2**31), 2**31 - 1, (rows // 8, columns), generator=generator).int(),
        "qzeros": torch.randint(-(2**31), 2**31 - 1, (rows // size, columns // 8), generator=generator).int(),
        "scales": (torch.rand(rows // size, columns, generator=generator) * 0.02).half(),
    }
    if act_order:
        order = torch.randperm(rows, generator=generator)
        tensors["g_idx"] = (order // size).int()
    ours = decode_gptq(tensors, size, act_order, zero_offset=1)
    assert torch.equal(bits(ours), bits(kernels.gptq(tensors).T))


def test_the_comparison_sees_a_single_wrong_bit(kernels):
    groups = make_groups([(5, 32), (3, 64)])
    codes = torch.cat([torch.full((32, 32), 9), torch.full((64, 32), 3)])
    scales = torch.tensor([0.5, 0.25], dtype=torch.float16)
    tensors = encode_linear(codes, torch.full((2, 32), 7), scales, groups, torch.arange(96))
    before = kernels.exl2(tensors)
    assert torch.equal(bits(before[:, :32].T), bits(decode_linear(tensors, groups, 32)))
    tensors["q_weight"][1, 4] ^= 1 << 3
    assert (bits(kernels.exl2(tensors)) != bits(before)).sum() == 1


def test_a_down_projection_and_what_feeds_it_are_compared_as_they_are_loaded(kernels, tmp_path):
    fp16 = tmp_path / "fp16"
    model = build_model(0, model_type="llama", tie_word_embeddings=True)
    model.half().save_pretrained(fp16)
    save_tokenizer(fp16)
    quantize_folder(fp16, tmp_path / "q", bpw=4.0, method="rtn")
    block = "model.layers.1.mlp."
    with Checkpoint.open(tmp_path / "q") as checkpoint:
        parts = ("q_weight", "q_invperm", "q_scale", "q_scale_max", "q_groups")
        stored = {
            name: {p: checkpoint.stored(f"{block}{name}.{p}") for p in parts}
            for name in ("down_proj", "up_proj")
        }
        down, up = (as_loaded(checkpoint, block + name) for name in stored)
        plain = checkpoint.decode(f"{block}up_proj")
    theirs = kernels.exl2(stored["down_proj"], unmapped=True)[:, : len(down)].T
    assert torch.equal(bits(down), bits(theirs))
    order = torch.argsort(stored["down_proj"]["q_invperm"].long())
    assert torch.equal(bits(up), bits(kernels.exl2(stored["up_proj"])[:, : len(plain)].T[order]))
    # In either order the two make the same product.
    inputs = torch.randn(5, 96)
    back = torch.empty_like(down)
    back[:, order] = down
    as_stored = (inputs @ up.float().T) @ down.float().T
    torch.testing.assert_close(as_stored, (inputs @ plain.float().T) @ back.float().T, rtol=1e-3, atol=1e-3)
