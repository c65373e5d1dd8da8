"""Neutral sampling settings, where the run has asked EXL2 with other ones; else, why there is nothing to try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wfgy_triage.doctor.side import Side
from wfgy_triage.engines.suggested import GREEDY, Sampling
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import EXL2
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError

SETTINGS = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "no_repeat_ngram_size",
)  # fmt: skip
KEYS = {
    "top_k": "sampler.top_k", "top_p": "sampler.top_p", "min_p": "sampler.min_p", "typical_p": "sampler.typical",
    "repetition_penalty": "sampler.repetition_penalty",
}  # fmt: skip
"""Settings besides the temperature, by transformers' names, and the keys of a patch."""
SERVERS_TOO = {"sampler.presence_penalty": 0, "sampler.frequency_penalty": 0}
"""What a neutral request to a server switches off besides: penalties count even where the likeliest word is taken."""
TEMPERATURE, IN_THE_FILE = "sampler.temperature", "generation_config.do_sample"


class NeutralSampler:
    """One candidate: nothing penalised or cut off, and the likeliest word each time."""

    id = "neutral_sampler"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """Neutral settings, where EXL2 was asked with others; otherwise the reason names what the folders suggest."""
        own = {i.sampling_of(EXL2) for i in case.subject.items} - {GREEDY}
        if not own:
            raise NotApplicableError(_nothing_to_change(case))
        changes: dict[str, Any] = {}
        for now in own:
            changes |= neutral_changes(now)
        label = f"Neutral sampling instead of {', '.join(sorted(now.words for now in own))}"
        return [Candidate(self.id, self.id, label, changes)]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, asked with neutral settings."""
        yield Change(case.context.exl2, neutral)


def neutral(item: Item) -> Item:
    """The item with EXL2 asked neutrally; FP16 keeps its own settings."""
    return item.with_exl2(GREEDY)


def neutral_changes(now: Sampling) -> dict[str, Any]:
    """What has to be set, in the keys of `fixmap/targets.yaml`; of a server's own settings all, since none is known."""
    wanted, served = GREEDY.values(), now.sampler.server_own
    rest = {KEYS[k]: int(v) for k, v in wanted.items() if served or v != now.values()[k]}
    return {TEMPERATURE: 0, **rest, **(SERVERS_TOO if served else {IN_THE_FILE: False})}


def kept_settings(now: Sampling) -> dict[str, Any]:
    """What is not neutral besides the temperature: files that do not begin with the folder's settings need it too."""
    return {KEYS[k]: v for k, v in now.values().items() if v != GREEDY.values()[k]}


def _nothing_to_change(case: Case) -> str:
    always = "Both sides were asked with neutral sampling settings"
    if "exl2" in case.pair.served:
        return f"{always}."
    ours, theirs = (Side("", folder).generation_file.data for folder in (case.pair.fp16, case.pair.exl2))
    differing = [name for name in SETTINGS if ours.get(name) != theirs.get(name)]
    if not differing:
        return f"{always}, and the two folders suggest the same ones in generation_config.json."
    told = ", ".join(f"{n} {theirs.get(n, 'not set')} (FP16: {ours.get(n, 'not set')})" for n in differing)
    return (
        f"{always}, so what the EXL2 folder's generation_config.json suggests did not cause this: {told}. "
        "A program that follows the file will differ: measure with sampling=suggested to see what that does."
    )


REMEDIES = {"neutral_sampler": NeutralSampler()}
