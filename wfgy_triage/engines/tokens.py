"""A tokenizer of transformers as the engines use it: text of ids, chat template, end tokens, definition."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers

from wfgy_triage.engines.base import EngineInfo
from wfgy_triage.engines.grammar import GrammarCompiler
from wfgy_triage.errors import InputError


def decoded(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Text of the ids, special tokens kept out."""
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def rendered_chat(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The model's own chat template, ending where the assistant's answer begins.

    Raises:
        InputError: the model has no chat template.
    """
    if not tokenizer.chat_template:
        raise InputError(
            "The model has no chat template.",
            "Add chat_template.jinja to its folder, or use plain prompts.",
        )
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return text


def tokenizer_definition(tokenizer: Any) -> str:
    """The tokenizer as the text of a tokenizer.json, added tokens included.

    Raises:
        InputError: it is not one of the fast tokenizers, which alone have this form.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "The model's tokenizer cannot be used with a grammar.", "Its folder needs a tokenizer.json."
        )
    plain = copy.copy(backend)
    plain.no_padding()
    plain.no_truncation()
    text: str = plain.to_str()
    return text


def end_ids(folder: Path, *holders: Any) -> frozenset[int]:
    """Every id that ends an answer: those of the folder's generation settings and of each of `holders`.

    Args:
        folder: the model folder.
        holders: objects that may have `eos_token_id`, a number or a list: configurations, a tokenizer.
    """
    ids: set[int] = set()
    if (folder / "generation_config.json").is_file():
        holders = (transformers.GenerationConfig.from_pretrained(folder), *holders)
    for holder in holders:
        value = getattr(holder, "eos_token_id", None)
        ids.update([value] if isinstance(value, int) else value or [])
    return frozenset(ids)


class TokenizerSide:
    """The part of an engine that its transformers tokenizer answers for, whatever computes the model.

    Args:
        tokenizer: of the model's folder.
        info: what is loaded.
        end_ids: any of these ends an answer.
    """

    def __init__(self, tokenizer: Any, info: EngineInfo, end_ids: frozenset[int]) -> None:
        self.info = info
        self._tokenizer, self._end = tokenizer, end_ids
        self._compiler: GrammarCompiler | None = None

    @property
    def tokenizer(self) -> Any:
        """The folder's tokenizer in transformers."""
        return self._tokenizer

    @property
    def end_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return self._end

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the ids; see the protocol."""
        return decoded(self._tokenizer, token_ids)

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Render the folder's chat template; see the protocol.

        Raises:
            InputError: the model has no chat template.
        """
        return rendered_chat(self._tokenizer, messages)

    def _grammars(self) -> GrammarCompiler:
        """The compiler of grammars for this tokenizer, made when it is first needed."""
        if self._compiler is None:
            definition = tokenizer_definition(self._tokenizer)
            self._compiler = GrammarCompiler(definition, self._end, self.info.vocab_size)
        return self._compiler
