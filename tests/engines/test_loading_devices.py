"""Opening folders: what is said of devices without room, and of classes that an engine does not do."""

from __future__ import annotations

import weakref

import pytest
import torch

from wfgy_triage.engines import exl2_reference, fp16, prepare
from wfgy_triage.engines.exl2_reference import empty_model
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.prepare import build_engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder


@pytest.fixture(scope="module")
def both_sides(make_folder, tmp_path_factory):
    source = make_folder("llama", hidden_size=96, num_attention_heads=6, intermediate_size=160)
    quantized = tmp_path_factory.mktemp("quantized") / "exl2"
    quantize_folder(source, quantized, bpw=4.5, method="rtn")
    return {"fp16": source, "exl2": quantized}


@pytest.mark.parametrize(("side", "module"), [("fp16", fp16), ("exl2", exl2_reference)])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_without_room_is_named_and_nothing_is_left_on_it(both_sides, monkeypatch, side, module, error):
    begun = []

    def full(model, *given):
        begun.append(weakref.ref(model))
        raise type(error)(str(error))

    monkeypatch.setattr(module, "prepare_model", full)
    with pytest.raises(PrerequisiteError, match="GPU memory does not suffice") as refused:
        open_engine(both_sides[side], side=side)
    assert refused.value.cause == "gpu_memory"
    assert "`device`" in refused.value.hint
    # The error is still held here; the model is not.
    assert [ref() for ref in begun] == [None]


def test_a_model_without_room_for_its_first_pass_is_named_too(make_folder, monkeypatch):
    def full(runner):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(prepare.ModelRunner, "check_against_class", full)
    with pytest.raises(PrerequisiteError) as refused:
        open_engine(make_folder("llama"), side="fp16")
    assert refused.value.cause == "gpu_memory"


@pytest.mark.parametrize("side", ["fp16", "exl2"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(both_sides, side):
    opened = {"fp16": fp16.open_fp16, "exl2": exl2_reference.open_exl2_reference}[side]
    for mode in ("reproducible", "fast"):
        with pytest.raises(PrerequisiteError, match="cannot use the GPU") as refused:
            opened(both_sides[side], mode=mode, device="cuda")
        assert refused.value.cause == "no_gpu"


@pytest.mark.parametrize(("side", "module"), [("fp16", fp16), ("exl2", exl2_reference)])
@pytest.mark.parametrize("error", [RuntimeError, AttributeError, TypeError, KeyError, ValueError])
def test_an_error_that_is_not_of_the_device_is_of_the_class(both_sides, monkeypatch, side, module, error):
    def broken(model, *given):
        raise error("shapes cannot be multiplied")

    monkeypatch.setattr(module, "prepare_model", broken)
    with pytest.raises(PrerequisiteError, match=r"LlamaForCausalLM needs something .*shapes") as refused:
        open_engine(both_sides[side], side=side)
    assert "backend: exllamav2" in refused.value.hint


@pytest.mark.parametrize("said", ["CUDA error: an illegal memory access", "DefaultCPUAllocator: no memory"])
def test_an_error_of_the_device_is_not_put_down_to_the_class(both_sides, monkeypatch, said):
    def broken(model, *given):
        raise RuntimeError(said)

    monkeypatch.setattr(fp16, "prepare_model", broken)
    with pytest.raises(RuntimeError, match=said.partition(":")[0]):
        open_engine(both_sides["fp16"], side="fp16")


@pytest.mark.parametrize(("device", "equal"), [("cpu", True), ("cuda", False), ("cuda:1", False)])
def test_text_is_called_independent_of_the_batch_on_the_processor_alone(
    make_folder, monkeypatch, device, equal
):
    class Runner(prepare.ModelRunner):
        def check_against_class(self):
            """Nothing is computed here."""

    monkeypatch.setattr(prepare, "ModelRunner", Runner)
    folder = make_folder("llama")
    info = build_engine(
        empty_model(folder),
        folder,
        engine="transformers",
        mode="reproducible",
        dtype=torch.float32,
        device=torch.device(device),
    ).info
    assert info.deterministic is equal
    assert any("composition of a batch" in note for note in info.notes) is not equal
