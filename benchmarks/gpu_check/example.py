"""Part `example`: docs/examples/minimal_setup.py runs as it is printed, and answers what the same weights answer here.

Its answer is read by the reference engine, which frames the prompt itself: each token has to be the one that is the
likeliest there, or within `GAP` of it, and where the answer stopped, so has an end token. A prompt read without its
template, without a mask, or with another start goes far beyond that at once.
"""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.part import ON_CPU, REFERENCE, Bench, Outcome, passed_if
from wfgy_triage.engines.base import Engine, ScoreRequest
from wfgy_triage.engines.loading import open_engine

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "minimal_setup.py"
PROMPT = "What is the capital of France?"
GAP = 0.25
"""Nats that a token may be less likely than the likeliest one. A choice: two engines differ by hundredths."""
TOKENS_ON_CPU = 12
"""A step takes seconds in the library compiled for the processor."""


def run(bench: Bench) -> Outcome:
    """Run the example on the first EXL2 folder, and judge its answer."""
    folder, example = bench.exl2[0], _example()
    if os.environ.get(ON_CPU):
        example.ANSWER = TOKENS_ON_CPU
    begun = time.monotonic()
    answer = str(example.main(str(folder), PROMPT))
    seconds = time.monotonic() - begun
    with closing(open_engine(folder, side="exl2", settings=REFERENCE)) as reference:
        gaps = gaps_of(reference, PROMPT, answer, example.ANSWER)
    row = {"folder": folder.name, "prompt": PROMPT, "answer": answer, "seconds": seconds, "gaps": gaps}
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    said = (
        f"It answers {answer!r}: {len(gaps)} choices, none more than {max(gaps):.2g} nats from the likeliest."
    )
    if gaps[worst] > GAP:
        said = f"It answers {answer!r}; choice {worst + 1} is {gaps[worst]:.2g} nats from the likeliest, allowed {GAP}."
    return passed_if(gaps[worst] <= GAP, said, [row])


def gaps_of(reference: Engine, prompt: str, answer: str, most: int) -> list[float]:
    """For each token of an answer, how many nats it is less likely than the likeliest one.

    Args:
        reference: what the prompt is framed, and the answer read by.
        prompt: as it was given to the example.
        answer: its text.
        most: tokens that the answer might have had; a shorter one has to end with an end token, the last number.
    """
    tokenizer = reference.tokenizer  # type: ignore[attr-defined]
    if tokenizer.chat_template:
        asked = reference.encode(reference.render_chat([{"role": "user", "content": prompt}]))
    else:
        start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
        asked = (*start, *reference.encode(prompt))
    tokens, ends = reference.encode(answer), sorted(reference.end_ids)  # type: ignore[attr-defined]
    allowed = [[token] for token in tokens] + ([ends] if len(tokens) < most else [])
    sequence = (*asked, *(choice[0] for choice in allowed))
    gaps = [0.0] * len(allowed)
    for chunk in reference.logits([ScoreRequest("answer", sequence, len(asked))]):
        for row, logits in enumerate(chunk.logits):
            at = chunk.start + row - len(asked)
            gaps[at] = float(logits.max() - logits[allowed[at]].max())
    return gaps


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("minimal_setup", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
