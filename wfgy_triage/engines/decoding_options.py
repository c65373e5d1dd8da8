"""How a call of the decoder is run."""

from __future__ import annotations

from dataclasses import dataclass

from wfgy_triage.engines.cache_rounding import CacheRounding


@dataclass(frozen=True)
class DecodingOptions:
    """How a call is run; but for `rounding` the result does not depend on it in the reproducible mode.

    Attributes:
        name: the engine, for messages.
        settle_ties: decide near ties by a pass over the row alone.
        share_prefix: compute what prompts share once, and not again what an earlier call computed.
        kv_budget_bytes: bound for the suffix storage of one wave of rows.
        rounding: of keys and values, once the pass that computed them has ended; None keeps them as they are.
    """

    name: str
    settle_ties: bool
    share_prefix: bool = True
    kv_budget_bytes: int = 2 << 30
    rounding: CacheRounding | None = None
