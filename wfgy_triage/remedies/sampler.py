"""Sampling settings that a folder suggests: named where they differ, and why no trial can show their effect."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from wfgy_triage.doctor.side import Side
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError

SETTINGS = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "no_repeat_ngram_size",
)  # fmt: skip


class NeutralSampler:
    """Never tried: every question of this program is asked with its own settings, equal on both sides."""

    id = "neutral_sampler"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """None; the reason names the settings that differ, since a server may follow them."""
        ours, theirs = (Side("", folder).generation_file.data for folder in (case.pair.fp16, case.pair.exl2))
        differing = [name for name in SETTINGS if ours.get(name) != theirs.get(name)]
        always = "Every question is asked with its own sampling settings, the same on both sides"
        if not differing:
            raise NotApplicableError(
                f"{always}, and the two folders suggest the same ones in generation_config.json."
            )
        told = ", ".join(
            f"{n} {theirs.get(n, 'not set')} (FP16: {ours.get(n, 'not set')})" for n in differing
        )
        raise NotApplicableError(
            f"{always}, so what the EXL2 folder's generation_config.json suggests did not cause this: {told}. "
            "A server that follows the file will differ; set these values there as in the FP16 folder."
        )

    def apply(self, case: Case, candidate: Candidate) -> AbstractContextManager[Change]:
        """Never asked for."""
        raise NotApplicableError("Sampling settings of a folder are not used here.")


REMEDIES = {"neutral_sampler": NeutralSampler()}
