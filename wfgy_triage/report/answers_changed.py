"""The same questions once more: what EXL2 answered before and after the recommended change, beside FP16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from wfgy_triage.report.answers import Answer, answer_chip, read_answer
from wfgy_triage.store.records import Sample

SHOWN = 4
"""Questions that are shown in full."""


@dataclass(frozen=True)
class Changed:
    """One question that EXL2 answered before and after a change; FP16's answer where there is one."""

    question: str
    fp16: Answer | None
    before: Answer
    after: Answer

    @property
    def mended(self) -> bool:
        """Whether only the answer after the change is a good one."""
        return self.before.valid is False and self.after.valid is True

    @property
    def spoiled(self) -> bool:
        """Whether only the answer before the change was a good one."""
        return self.before.valid is True and self.after.valid is False


def collect_changed(
    samples: Iterable[Sample], questions: Mapping[str, str], fp16: str, before: str, after: str
) -> list[Changed]:
    """Pair the answers of three sides, the most telling questions first; those without before and after are left out.

    Args:
        samples: everything stored for the run.
        questions: text of each question id; an unknown id is shown as it is.
        fp16: side of the reference's answers.
        before: side of EXL2's answers as it is.
        after: side of its answers with the change.
    """
    found: dict[tuple[str, int, int], dict[str, Sample]] = {}
    for sample in samples:
        if sample.key.side in (fp16, before, after) and "text" in sample.payload:
            key = (sample.key.question, sample.key.paraphrase, sample.key.seed)
            found.setdefault(key, {})[sample.key.side] = sample
    rows = [
        Changed(
            str(sides[before].payload.get("question") or questions.get(key[0], key[0])),
            read_answer(sides[fp16].payload) if fp16 in sides else None,
            read_answer(sides[before].payload),
            read_answer(sides[after].payload),
        )
        for key, sides in found.items()
        if before in sides and after in sides
    ]
    return sorted(rows, key=lambda r: (not r.mended, not r.spoiled, r.before.text == r.after.text))


def changed_answers(rows: Sequence[Changed]) -> str:
    """Return how many answers were mended and spoiled, and the most telling ones in full, folded; empty without any."""
    if not rows:
        return ""
    mended, spoiled = (sum(getattr(r, name) for r in rows) for name in ("mended", "spoiled"))
    items = "".join(_row(r) for r in rows[:SHOWN])
    return (
        '<section class="card"><details class="trials"><summary><h3>Read the answers with the change</h3></summary>'
        f'<p class="dim">Of {len(rows)} answers, {mended} became good with the change and {spoiled} became bad.</p>'
        f'<div class="live-rows">{items}</div></details></section>'
    )


def _row(row: Changed) -> str:
    sides = "".join(
        f'<div class="live-side"><p><b>{name}</b> {answer_chip(answer)}</p>'
        f'<pre tabindex="0" aria-label="{name}">'
        f"{escape(answer.text) if answer else ''}</pre></div>"
        for name, answer in (
            ("FP16", row.fp16),
            ("EXL2 as it is", row.before),
            ("With the change", row.after),
        )
    )
    return (
        f'<article><h4 translate="no">{escape(row.question)}</h4><div class="three">{sides}</div></article>'
    )
