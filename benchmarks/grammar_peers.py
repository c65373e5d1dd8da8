"""The grammar libraries behind one small door, so that the benchmark can ask each of them the same things.

A library that is not installed is left out. `xgrammar` and `formatron` are no dependencies of this project.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np


class Matcher(Protocol):
    """Follows one answer."""

    def mask(self) -> Any:
        """Compute which tokens may come next."""

    def push(self, token: int) -> bool:
        """Take the token; False when it is not allowed."""

    def accepts(self) -> bool:
        """Whether the answer may end here."""


@dataclass(frozen=True)
class Library:
    """One library, ready for a tokenizer.

    Attributes:
        name: of the package.
        version: of the package.
        import_s: seconds of the first import.
        tokenizer_s: seconds to prepare the tokenizer.
        compile: schema to a maker of matchers; raises when it refuses the schema.
        masks: computes the masks of several matchers in one call, where the library has one.
    """

    name: str
    version: str
    import_s: float
    tokenizer_s: float
    compile: Callable[[dict[str, Any]], Callable[[], Matcher]]
    masks: Callable[[Sequence[Any]], Any] | None = None


def libraries(tokenizer: Any, eos: int) -> tuple[list[Library], list[str]]:
    """The installed libraries, and the names of those that are not."""
    found, absent = [], []
    for name, (package, build) in _BUILDERS.items():
        try:
            version(package)
        except PackageNotFoundError:
            absent.append(name)
            continue
        begin = time.perf_counter()
        importlib.import_module(name)
        middle = time.perf_counter()
        compiler, masks = build(tokenizer, eos)
        end = time.perf_counter()
        found.append(Library(name, version(package), middle - begin, end - middle, compiler, masks))
    return found, absent


Built = tuple[Callable[[dict[str, Any]], Callable[[], Matcher]], Callable[[Sequence[Any]], Any] | None]


def _llguidance(tokenizer: Any, eos: int) -> Built:
    import llguidance
    import llguidance.hf
    import llguidance.numpy as masks

    table = llguidance.hf.from_tokenizer(tokenizer, eos_token=eos)
    executor = llguidance.LLExecutor(2)

    class Follow:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def mask(self) -> Any:
            return self.inner.compute_bitmask()

        def push(self, token: int) -> bool:
            return bool(self.inner.try_consume_tokens([token]))

        def accepts(self) -> bool:
            return bool(self.inner.is_accepting())

    def together(rows: Sequence[Follow]) -> Any:
        table_of = masks.allocate_token_bitmask(len(rows), len(tokenizer))
        pairs = [(row.inner, i) for i, row in enumerate(rows)]
        masks.fill_next_token_bitmask_par(executor, pairs, table_of)
        return table_of

    def compile_schema(schema: dict[str, Any]) -> Callable[[], Follow]:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
        fresh = llguidance.LLMatcher(table, grammar, log_level=0)
        if fresh.is_error():
            raise ValueError(fresh.get_error())
        return lambda: Follow(fresh.deep_copy())

    return compile_schema, together


def _xgrammar(tokenizer: Any, eos: int) -> Built:
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=eos)
    compiler = xgrammar.GrammarCompiler(info, max_threads=2, cache_enabled=False)
    batch = xgrammar.BatchGrammarMatcher(2)

    class Follow:
        def __init__(self, grammar: Any) -> None:
            self.inner = xgrammar.GrammarMatcher(grammar)
            self.table = xgrammar.allocate_token_bitmask(1, info.vocab_size)

        def mask(self) -> Any:
            self.inner.fill_next_token_bitmask(self.table)
            return self.table

        def push(self, token: int) -> bool:
            return bool(self.inner.accept_token(token))

        def accepts(self) -> bool:
            return bool(self.inner.is_completed())

    def together(rows: Sequence[Follow]) -> Any:
        table = xgrammar.allocate_token_bitmask(len(rows), info.vocab_size)
        batch.batch_fill_next_token_bitmask([row.inner for row in rows], table)
        return table

    def compile_schema(schema: dict[str, Any]) -> Callable[[], Follow]:
        grammar = compiler.compile_json_schema(json.dumps(schema), strict_mode=False)
        return lambda: Follow(grammar)

    return compile_schema, together


def _formatron(tokenizer: Any, eos: int) -> Built:
    from formatron.formatter import FormatterBuilder
    from formatron.integrations.transformers import create_engine_vocabulary
    from formatron.schemas.json_schema import create_schema

    vocabulary = create_engine_vocabulary(tokenizer)

    class Follow:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.inner.reset()

        def mask(self) -> Any:
            self.inner.compute_allowed_tokens()
            return self.inner.get_allowed_tokens_since_last_computation()

        def push(self, token: int) -> bool:
            try:
                self.inner.accept_token(token)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - it raises several kinds, a Rust panic among them
                return False
            return True

        def accepts(self) -> bool:
            return bool(self.inner.is_completed())

    def compile_schema(schema: dict[str, Any]) -> Callable[[], Follow]:
        named = {
            "$id": "https://example.com/schema.json",
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **schema,
        }
        builder = FormatterBuilder()
        builder.append_str(f"{builder.json(create_schema(named))}")
        # One matcher at a time: it has no copies, and building it compiles anew.
        inner = builder.build(vocabulary, tokenizer.decode)
        return lambda: Follow(inner)

    return compile_schema, None


_BUILDERS: dict[str, tuple[str, Callable[[Any, int], Built]]] = {
    "llguidance": ("llguidance", _llguidance),
    "xgrammar": ("xgrammar", _xgrammar),
    "formatron": ("formatron", _formatron),
}


def follows(matcher: Matcher, tokens: Sequence[int], timings: list[float] | None = None) -> bool:
    """Whether the grammar takes the tokens and may end there; the time of every mask goes into `timings`."""
    for token in tokens:
        if timings is not None:
            begin = time.perf_counter()
            matcher.mask()
            timings.append(time.perf_counter() - begin)
        if not matcher.push(token):
            return False
    return matcher.accepts()


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile in microseconds; 0 for nothing."""
    return float(np.percentile(values, share)) * 1e6 if values else 0.0
