"""Texts that become the same tokens on a server as here, and tokens for which there is none."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from tests.engines import stub_server as say
from tests.engines.stub_server import opened, request, sent
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.errors import InputError


def spaced_tokenizer(folder: Path) -> Path:
    """A tokenizer of Llama 2's kind: a space before each text between markers, taken away once when it decodes."""
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *string.printable]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    markers = {"bos_token": "<s>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **markers)
    fast.chat_template = "{% for m in messages %}<s>[INST] {{ m.content }} [/INST]{% endfor %}</s>ok"
    fast.save_pretrained(folder)
    (folder / "config.json").write_text('{"max_position_embeddings": 512}')
    return folder


@pytest.mark.parametrize("spoken", ["Hé\n 🙂?", " led by a space", "  two", "<s>"])
def test_a_tokenizer_that_puts_spaces_behind_markers_is_followed(stub, tmp_path, spoken):
    engine = opened(stub, spaced_tokenizer(tmp_path))
    stub.otherwise = say.says("fine thanks", prompt_tokens=100)
    text = engine.render_chat([{"role": "user", "content": spoken}] * 2)
    assert tuple(engine.encode(engine.decode(engine.encode(text)))) != tuple(engine.encode(text))
    prompt = sent(stub, engine, request(engine, text))["prompt"]
    assert engine.encode(prompt) == engine.encode(text)


def test_a_prompt_that_text_cannot_carry_is_refused_before_anything_is_asked(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    broken = GenerationRequest("q9", engine.encode("é")[:1], 8)  # half a character
    with pytest.raises(InputError, match="q9.*no text that becomes the same token ids"):
        list(engine.generate([request(engine), broken]))
    assert stub.bodies == []
