"""Grammars for what the probes ask: a JSON record, a citation record, a sentence with its citation.

They hold a model to a form, not to an answer: which values, which of the supplied passages, and which words stay the
model's choice. White space is what the prompts' examples use, so that a lock changes nothing that need not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wfgy_triage.engines.base import Grammar, Spacing
from wfgy_triage.errors import InputError
from wfgy_triage.measure.citations import CITATION_ID

MAX_CLAIM_CHARS = 400
"""Longest text before the citation of a cited sentence; the citation is then the only way on."""
# Characters of a claim: any but brackets, control characters and full stops; closing quotes; what goes on behind them.
_PLAIN = r"[^\[\]\x00-\x1f.!?]"
_CLOSERS = "[\"'”’)]"
_GOES_ON = r"[^\s\[\]\x00-\x1f.!?\"'”’)]"


def record_grammar(schema: Mapping[str, Any] | bool, spacing: Spacing = "spaced") -> Grammar:
    """A JSON record that fits a schema.

    Args:
        schema: draft 2020-12. Properties come in the schema's order.
        spacing: see `Grammar`; the default is how `json.dumps` writes, and so the examples of the prompts.
    """
    return Grammar("json_schema", json.dumps(schema), spacing)


def citation_record_grammar(
    sections: Mapping[str, str],
    spacing: Spacing = "spaced",
    quotes: Mapping[str, Sequence[str]] | None = None,
) -> Grammar:
    """A citation record whose passage was supplied and whose section is that passage's.

    Args:
        sections: id of the section of every supplied passage, by passage id.
        spacing: see `Grammar`.
        quotes: what may be quoted of every passage, its sentences say. Without it a quote is any text, and a model that
            runs on within it never comes to its passage.

    Raises:
        InputError: no passage, or an id that cannot be cited.
    """
    anything = {"type": "string", "minLength": 1}
    fields = ("quote", "snippet_id", "section_id")
    records = [
        {
            "type": "object",
            "properties": {
                "quote": {"enum": list(quotes[mark])} if quotes is not None else anything,
                "snippet_id": {"const": mark},
                "section_id": {"const": section},
            },
            "required": list(fields),
            "additionalProperties": False,
        }
        for mark, section in zip(_citable(sections), sections.values(), strict=True)
    ]
    return Grammar("json_schema", json.dumps({"anyOf": records}), spacing)


def cited_sentence_grammar(supplied: Iterable[str], max_claim_chars: int = MAX_CLAIM_CHARS) -> Grammar:
    """One sentence with the numbers of supplied passages in brackets at its end, inside or behind the full stop.

    What may stand before the citation is any text on one line without brackets in which no sentence ends; so the
    answer cites with its first claim, and nothing but supplied passages.

    Args:
        supplied: ids of the passages.
        max_claim_chars: most characters before the citation.

    Raises:
        InputError: no passage, or an id that cannot be cited.
    """
    marks = _citable(supplied)
    # A full stop within the claim is followed by more of the same word ("3.5") or, at its end, by the citation.
    inner = rf"(?:{_PLAIN}|[.!?]+{_CLOSERS}*{_GOES_ON})"
    claim = rf"{_GOES_ON}{inner}{{0,{max_claim_chars - 1}}}(?:[.!?]+{_CLOSERS}*[ ]?)?"
    return Grammar(
        "lark",
        f"""start: CLAIM "[" id (", " id){{0,{len(marks) - 1}}} "]" /[.!?]?/
id: {" | ".join(json.dumps(mark) for mark in marks)}
CLAIM: /{claim}/
""",
    )


def _citable(ids: Iterable[str]) -> list[str]:
    found = list(ids)
    if not found:
        raise InputError("There is no passage to cite.", "Supply at least one passage.")
    for mark in found:
        if not re.fullmatch(CITATION_ID, mark):
            raise InputError(
                f"The passage id {mark[:80]!r} cannot be cited.",
                "Ids have up to 64 letters, digits and . _ : # - and begin with a letter or digit.",
            )
    return found
