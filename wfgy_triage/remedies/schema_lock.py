"""Decoding held to the form that the answer must have (WFGY: BBAM schema lock)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from wfgy_triage.engines.base import Grammar
from wfgy_triage.probes.held import cannot_hold
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import GRAMMAR
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError

NOTE = "Each question was held to its own form; the files show the first one's. Put your own in its place."


class SchemaLock:
    """Only tokens that keep the answer within its JSON schema, or its citation grammar, can be chosen."""

    id = "schema_lock"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One: each question locked to its own form."""
        grammar_of = self._grammars(case)
        forms = [g for g in map(grammar_of, case.subject.items) if g is not None]
        if reason := cannot_hold(case.context.exl2, forms):
            raise NotApplicableError(reason)
        first = forms[0]
        label = (
            "Hold decoding to the JSON schema"
            if first.kind == "json_schema"
            else "Hold decoding to the citation form"
        )
        return [Candidate(self.id, self.id, label, _patch(first))]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine; every question carries its grammar."""
        grammar_of = self._grammars(case)
        yield Change(case.context.exl2, lambda item: replace(item, grammar=grammar_of(item)), NOTE)

    def _grammars(self, case: Case) -> Callable[[Item], Grammar | None]:
        found: Callable[[Item], Grammar | None] | None = case.subject.facets.get(GRAMMAR)
        if found is None:
            raise NotApplicableError("These answers have no fixed form that decoding could be held to.")
        return found


def _patch(grammar: Grammar) -> Mapping[str, Any]:
    if grammar.kind == "json_schema":
        return {"request.json_schema": json.loads(grammar.text)}
    return {"request.grammar": grammar.text, "request.grammar_kind": grammar.kind}


REMEDIES = {"schema_lock": SchemaLock()}
