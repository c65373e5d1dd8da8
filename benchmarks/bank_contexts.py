"""A context that some of the questions of a run fit into and others do not, counted on the pair's own tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer

from benchmarks.faults import edit_json
from wfgy_triage.engines.base import Engine
from wfgy_triage.probes.long_chain import chain_item
from wfgy_triage.workload.chains import STANDARD, load_chains

CHAINS = 20
"""Chains that a run of the bank asks."""
CONTEXT = "max_position_embeddings"


@dataclass(frozen=True)
class Encoder:
    """Token ids as the models of a folder get them; all that counting needs of an engine."""

    folder: Path

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids without special tokens."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def tokens_of_chains(folder: Path) -> list[int]:
    """Tokens that each chain of a run takes with its longest answer, the fewest first."""
    encoder = cast(Engine, Encoder(folder))  # it is asked for token ids alone
    items = [chain_item(c, encoder, 0) for c in load_chains().level(STANDARD)[:CHAINS]]
    return sorted(len(i.prompt_ids) + i.max_new_tokens for i in items)


def context_short_of_chains(fp16: Path, exl2: Path) -> None:
    """EXL2's context holds half of the chains with their answers, and not the others."""
    base = json.loads((fp16 / "config.json").read_text(encoding="utf-8"))[CONTEXT]
    taken = [n for n in tokens_of_chains(fp16) if n < base]
    held = taken[len(taken) // 2 - 1] if len(taken) > 1 else 0
    if not held or held == taken[-1]:
        raise ValueError(f"no context below {base} tokens holds some of the chains and not the others")
    edit_json(exl2 / "config.json", lambda d: d.update({CONTEXT: held}))
