"""Grammars against one tokenizer: which tokens may come next, whether an answer may end, whether it is complete.

The work is done by llguidance; docs/grammar.md says why. Nothing here knows a model: a tokenizer.json and the ids that
end an answer go in, masks over token ids come out, so an engine of any kind can use it. A schema that the library
cannot keep in full is refused; it is never kept in part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

from wfgy_triage.engines.base import Grammar, Spacing
from wfgy_triage.errors import InputError, ProbeError
from wfgy_triage.measure.schema_guard import check_schema_safe

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_GRAMMAR_CHARS = 256 * 1024
"""Longest text of a grammar."""
# Compiled grammars kept for one tokenizer: more than the kinds of questions of any question set.
_KEPT = 256
_HINT = "Simplify it, or answer without a grammar."
_SEPARATORS: dict[Spacing, tuple[str, str, bool]] = {
    "any": (",", ":", True),
    "compact": (",", ":", False),
    "spaced": (", ", ": ", False),
}
_UNSUPPORTED = re.compile(r"Unimplemented keys: (\[.*\])")


class GrammarState:
    """One answer on its way through a grammar.

    Args:
        matcher: the library's state, at its start.
        owner: id of the request, for messages.
    """

    def __init__(self, matcher: LLMatcher, owner: str) -> None:
        self.matcher, self.owner = matcher, owner

    def push(self, token: int) -> bool:
        """Take the next token of the answer; returns whether the answer is complete and nothing can follow.

        Raises:
            ProbeError: the grammar does not allow the token, or became too large to follow.
        """
        if not self.matcher.consume_token(token):
            raise _stuck(self)
        return self.matcher.is_stopped()


class GrammarCompiler:
    """Compiles grammars for one tokenizer.

    Args:
        definition: the text of a tokenizer.json.
        eos_ids: any of these ends an answer; allowed only where the grammar accepts.
        vocab_size: token ids that the engine has logits for.

    Raises:
        InputError: the tokenizer is of a kind that the library does not know.
    """

    def __init__(self, definition: str, eos_ids: Collection[int], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._eos = np.array(sorted(i for i in eos_ids if i < vocab_size), dtype=np.intp)
        self._tokenizer = _tokenizer(definition, tuple(self._eos.tolist()))
        self._executor = LLExecutor()
        self._compiled = lru_cache(maxsize=_KEPT)(self._compile)

    def start(self, grammar: Grammar, owner: str) -> GrammarState:
        """The state before the first token of an answer.

        Raises:
            InputError: the grammar is malformed, can match nothing, or needs what cannot be kept; names it.
        """
        return GrammarState(self._compiled(grammar).deep_copy(), owner)

    def barred(self, states: Sequence[GrammarState]) -> np.ndarray:
        """Tokens that may not come next, shape (states, vocab), bool; all states in one call, without the GIL.

        Raises:
            ProbeError: a grammar leaves no token, or became too large to follow; names the request.
        """
        words = allocate_token_bitmask(len(states), self._tokenizer.vocab_size)
        fill_next_token_bitmask_par(self._executor, [(s.matcher, i) for i, s in enumerate(states)], words)
        bits = np.unpackbits(
            (~words).view(np.uint8), axis=1, count=self._tokenizer.vocab_size, bitorder="little"
        )
        barred = np.ones((len(states), self._vocab_size), dtype=bool)
        known = min(bits.shape[1], self._vocab_size)
        barred[:, :known] = bits[:, :known].view(bool)
        for row, state in zip(barred, states, strict=True):
            # Whatever the library thinks, an answer must not end in the middle of its grammar.
            if not state.matcher.is_accepting():
                row[self._eos] = True
            if state.matcher.is_error() or row.all():
                raise _stuck(state)
        return barred

    def _compile(self, grammar: Grammar) -> LLMatcher:
        if not grammar.text.strip():
            raise InputError("The grammar is empty.", _HINT)
        if len(grammar.text) > MAX_GRAMMAR_CHARS:
            raise InputError(f"The grammar is longer than {MAX_GRAMMAR_CHARS // 1024} KB.", _HINT)
        matcher = LLMatcher(self._tokenizer, _library_text(grammar), log_level=0)
        if matcher.is_error():
            raise _refusal(grammar, matcher.get_error())
        if grammar.kind == "json_schema" and (warnings := matcher.get_grammar_warnings()):
            raise _refusal(grammar, "; ".join(warnings))
        return matcher


@lru_cache(maxsize=4)
def _tokenizer(definition: str, eos_ids: tuple[int, ...]) -> LLTokenizer:
    """The library's form of a tokenizer; building it takes about a second, and both sides of a pair share it."""
    try:
        return LLTokenizer(definition, eos_token=list(eos_ids))
    except ValueError as error:
        raise InputError(
            f"The model's tokenizer cannot be used with a grammar: {error}", "Answer without a grammar."
        ) from error


def _library_text(grammar: Grammar) -> str:
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.text)
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    try:
        schema: Any = json.loads(grammar.text)
    except ValueError as error:
        raise InputError(f"The schema is not JSON: {error}", _HINT) from error
    check_schema_safe(schema)
    if schema is False:
        raise InputError("The schema allows no value at all.", _HINT)
    item, key, flexible = _SEPARATORS[grammar.spacing]
    # All of them named: a schema can carry settings of its own, and one of them would let keywords go unkept.
    options: JsonCompileOptions = {
        "item_separator": item,
        "key_separator": key,
        "whitespace_flexible": flexible,
        "whitespace_pattern": None,
        "coerce_one_of": False,
        "lenient": False,
        # Models that were shown json.dumps' output write é as é.
        "json_allow_general_unicode_escapes": True,
    }
    return LLMatcher.grammar_from_json_schema({} if schema is True else schema, overrides=options)


def _refusal(grammar: Grammar, reason: str) -> InputError:
    what = "schema" if grammar.kind == "json_schema" else "grammar"
    if found := _UNSUPPORTED.search(reason):
        names = ", ".join(sorted(json.loads(found[1])))
        return InputError(f"The schema lock cannot keep the keyword {names}.", _HINT)
    return InputError(f"The {what} cannot be used: {' '.join(reason.split())[:300]}", _HINT)


def _stuck(state: GrammarState) -> ProbeError:
    # Behind the mark stands the library's inner state.
    reason = " ".join(state.matcher.get_error().split("<state>")[0].split())[:200]
    return ProbeError(
        f"The grammar of request {state.owner!r} leaves no token to go on with{f': {reason}' if reason else ''}.",
        _HINT,
    )
