"""Tiny random models of several families, saved as ordinary folders, and a byte-level tokenizer for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.engines.stub_server import Stub, serving
from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.engines.loading import open_engine

SIZES: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    # Large weights make a random model decided: text then says something about the arithmetic.
    "initializer_range": 0.25,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-bias": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama3-rope": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "olmo2": {"model_type": "olmo2"},
    "phi3": {"model_type": "phi3", "head_dim": None},
}
FUSED = {"llama", "llama-bias", "llama3-rope", "mistral", "qwen2", "qwen3"}


def save_tokenizer(folder: Path) -> None:
    """One token a byte (ids 0-255 in the order of the byte alphabet), then <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    fast.chat_template = (
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant:{% endif %}"
    )
    fast.save_pretrained(folder)


def build_model(seed: int = 0, **settings: Any) -> Any:
    """A random model in fp16-representable fp32 weights."""
    torch.manual_seed(seed)
    values = {k: v for k, v in {**SIZES, **settings}.items() if v is not None or k == "sliding_window"}
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
            parameter.copy_(parameter.half().float())
    return model


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a model folder; `family` names an entry of FAMILIES, further settings override it."""
    made: dict[str, Path] = {}

    def make(family: str = "llama", **settings: Any) -> Path:
        key = f"{family}-{sorted(settings.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp(family)
            build_model(
                **{**FAMILIES.get(family, {"model_type": family}), **settings}
            ).half().save_pretrained(folder)
            save_tokenizer(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def engine(make_folder: Callable[..., Path]) -> Engine:
    """The reproducible engine on the tiny Llama."""
    return open_engine(make_folder("llama"), side="fp16")


@pytest.fixture(scope="session")
def running_stub() -> Iterator[Stub]:
    """A scripted model server."""
    with serving(Stub()) as found:
        yield found


@pytest.fixture
def stub(running_stub: Stub) -> Stub:
    """The same without a script."""
    running_stub.reset()
    return running_stub


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is needed of an FP16 side that is asked on a server."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    (folder / "config.json").write_text('{"max_position_embeddings": 512}')
    return folder


def own_model(folder: Path) -> Any:
    """The folder in transformers' own class, fp32: the independent reference."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def check_same(ours: Mapping[str, Completion], theirs: Mapping[str, Completion], logprobs: float) -> None:
    """The same answers, with log-probabilities at most so far apart."""
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        other = theirs[name]
        assert (mine.text, mine.token_ids, mine.finish_reason) == (
            other.text,
            other.token_ids,
            other.finish_reason,
        )
        assert mine.logprobs == pytest.approx(other.logprobs, abs=logprobs)
