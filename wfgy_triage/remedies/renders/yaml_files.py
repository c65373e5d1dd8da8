"""TabbyAPI's two files: `config.yml` and the sampler override preset."""

from __future__ import annotations

from wfgy_triage.remedies.edits.edit import Edit, nested
from wfgy_triage.remedies.edits.yaml_dump import block
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Share
from wfgy_triage.remedies.renders.header import header

_CACHE_STEP = 256
"""The key/value cache is allocated in pages of 256 tokens."""


def whole_pages(tokens: int) -> int:
    """The smallest cache, in tokens, that holds a context of this length."""
    return -(-tokens // _CACHE_STEP) * _CACHE_STEP


def tabbyapi_edits(share: Share) -> list[Edit]:
    """The values of `config.yml`. A cache that is set and too small for the context would cap it."""
    edits = []
    for at, value in share.named().items():
        edits.append(Edit(tuple(at.split(".")), value))
        if at == "model.max_seq_len" and isinstance(value, int):
            edits.append(Edit(("model", "cache_size"), whole_pages(value), at_least=True))
    return edits


def preset_edits(share: Share) -> list[Edit]:
    """The values of a sampler override preset: each is also forced on clients that send their own."""
    edits = []
    for at, value in share.named().items():
        # The later of two new keys is put before the earlier one.
        edits += [Edit((at, "force"), True), Edit((at, "override"), value)]
    return edits


def tabbyapi(share: Share, facts: Facts) -> str:
    """A fragment of `config.yml`: the sections and keys to set."""
    notes = ["Put these keys into the sections of your config.yml."]
    tokens = share.named().get("model.max_seq_len")
    if isinstance(tokens, int):
        notes.append(f"If cache_size is set there, it has to be at least {whole_pages(tokens)}.")
    return header(share, notes) + block(nested(tabbyapi_edits(share)))


def sampler_preset(share: Share, facts: Facts) -> str:
    """A whole preset file."""
    named = share.named()
    notes = [
        "Save it in sampler_overrides and set `override_preset: wfgy_triage` under `sampling` in config.yml,",
        "or put these keys into the preset that is set there now.",
    ]
    weak = [at for at, value in named.items() if not value]
    if weak:
        notes.append(
            f"TabbyAPI forces no zero or false ({', '.join(weak)}): it is the default for clients that send none."
        )
    if {"json_schema", "regex_pattern", "grammar_string"} & set(named):
        notes += [
            "It holds for every request. To lock single requests, send the same field with the request instead.",
            "A schema or grammar that formatron cannot read is logged as an error, and the answer is then not locked.",
        ]
    return header(share, notes) + block(
        {at: {"override": value, "force": True} for at, value in named.items()}
    )
