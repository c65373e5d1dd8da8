"""`config.json` and `generation_config.json` of a model folder. JSON has no comments: the file is the values alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfgy_triage.remedies.edits.edit import Edit, nested
from wfgy_triage.remedies.edits.json_text import dumped, merged
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Share


def edits(share: Share) -> list[Edit]:
    """The values to set, by dotted path."""
    return [Edit(tuple(at.split(".")), value) for at, value in share.named().items()]


def config(share: Share, facts: Facts) -> str:
    """The whole `config.json` with the change made where the file is known, else the keys to set."""
    return _file(share, facts.config)


def generation_config(share: Share, facts: Facts) -> str:
    """The whole `generation_config.json` with the change made where the file is known, else the keys to set."""
    return _file(share, facts.generation_config)


def _file(share: Share, known: Mapping[str, Any] | None) -> str:
    if known is not None:
        return dumped(merged(dict(known), edits(share)))
    # Without the file a null has to stay visible: it says which key to take out.
    return dumped(nested(edits(share)))
