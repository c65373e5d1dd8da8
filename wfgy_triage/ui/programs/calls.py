"""What programs may ask for: the same things as the page, checked by the same code. No Gradio, no MCP here.

Docstrings and types of the public methods are what programs and agents read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from wfgy_triage.access import PROGRAM, Action
from wfgy_triage.errors import InputError
from wfgy_triage.options import options_of
from wfgy_triage.report.export.scrub import Scrubber
from wfgy_triage.runs.trial_options import DEFAULT_SECONDS, FIX_SECONDS
from wfgy_triage.store.records import Event, RunRecord, RunSpec
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import SESSION_ID
from wfgy_triage.ui.option_fields import chosen_options
from wfgy_triage.workload.stored import BUILTIN

LONGEST_ID = 128
LONGEST_OPTIONS = 2_000
LONGEST_KEY = 64


class ProgramCalls:
    """The calls. Each checks what it is given, also its type: HTTP brings any JSON.

    Args:
        context: what the pages know; its service acts for the program, which never says itself who it is.
    """

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def list_symptoms(self) -> list[dict[str, Any]]:
        """List the symptoms that can be measured, with the settings that each has.

        Returns:
            One object a symptom: `id`, `title`, `summary`, `asks_questions`, and `options` with name, meaning and
            values of each setting.
        """
        return [
            {
                "id": s.id,
                "title": s.title,
                "summary": s.summary,
                "asks_questions": s.asks_questions,
                "options": _options(s.id),
            }
            for s in self._context.catalog.symptoms.values()
            if s.id in self._context.probed
        ]

    def list_pairs(self) -> list[dict[str, Any]]:
        """List the model pairs: an FP16 model and the EXL2 model made from it.

        Returns:
            One object a pair: `id`, `name`, `note` (what has to be said beside its numbers), `ready`, and `warm`
            (whether its models are loaded, so that a run begins at once).
        """
        warm = self._context.service.warm_pairs()
        return [
            {"id": p.id, "name": p.name, "note": p.note, "ready": p.ready, "warm": p.id in warm}
            for p in self._context.pairs().values()
        ]

    def match_complaint(self, text: str) -> dict[str, Any]:
        """Rank the symptoms for a complaint in somebody's own words, in any language.

        Args:
            text: what goes wrong, in a sentence or two.

        Returns:
            `symptom`: the id of the best, or `none` where none fits; `scores`: the share of each, adding up to 1.
        """
        return self._context.match(_string(text, "text")).to_json()

    def start_probe(
        self,
        symptom: str,
        pair: str,
        questions: int = 20,
        seed: int = 0,
        workload: str = BUILTIN,
        options: dict[str, Any] | None = None,
        fix_seconds: int = DEFAULT_SECONDS,
        start_key: str = "",
    ) -> dict[str, Any]:
        """Start measuring a symptom on a pair. Answers at once with the id of the run; ask `get_result` for the rest.

        Args:
            symptom: id from `list_symptoms`.
            pair: id from `list_pairs`.
            questions: how many questions, 1 to 200; more decide smaller differences and take longer.
            seed: base seed of every request.
            workload: id of a question set that was given on the page; `builtin` for the program's own.
            options: settings of the symptom by name, see `list_symptoms`; the usual ones without.
            fix_seconds: how long changes may be tried after a FAIL; 0 tries none.
            start_key: any text of 1 to 64 characters; the same again gives the run that was started with it before.

        Returns:
            As `get_result`.
        """
        self._may_start()
        known = self._context.catalog.symptoms[_text(symptom, "symptom")]
        spec = RunSpec(
            known.id,
            _text(pair, "pair"),
            _whole(questions, "questions"),
            _whole(seed, "seed"),
            _text(workload, "workload") or BUILTIN,
            _chosen(known.id, options, _whole(fix_seconds, "fix_seconds")),
        )
        return self._told(self._start(spec, _text(start_key, "start_key")))

    def _start(self, spec: RunSpec, start_key: str) -> str:
        """The id of a run of this spec; with a key, of the one that this program started with it before.

        Keys are short words that programs choose, so two programs may well have the same.
        """
        service = self._context.service
        if not start_key:
            return service.start(spec)
        if len(start_key) > LONGEST_KEY:
            raise InputError("The start key must have 1 to 64 characters.", "Use a random id for each run.")
        run_id = service.start(spec, sha256(f"{service.actor.name}\n{start_key}".encode()).hexdigest())
        if service.get(run_id).spec != spec:
            raise InputError(
                f"The start key {start_key!r} has started a run of another kind before: {run_id}.",
                "Use another key for what is asked now.",
            )
        return run_id

    def get_result(self, run_id: str, charts: bool = True) -> dict[str, Any]:
        """Tell how far a run is; once it has ended, what it found.

        Args:
            run_id: id from `start_probe`, or of any recorded session.
            charts: whether the data of the figures is wanted; it is most of the result's length.

        Returns:
            `run_id`, `symptom`, `pair`, `status` (`queued`, `running`, `done`, `cancelled`, `failed`), `state` (`PASS`,
            `FAIL`, `INCONCLUSIVE`, `NOT_MEASURED`), `queue_position` (how many runs come before it at most), `stage`
            (what is being done, how far it is), `error`, `page` (the address that shows it to people), and `result`:
            the `wfgy-triage/result-1` object. What is not known yet is null.
        """
        return self._told(_run_id(run_id), charts=charts is not False)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Ask a run to stop. What it has measured is kept and evaluated; a run that has ended stays as it is.

        Args:
            run_id: id of the run.

        Returns:
            As `get_result`.
        """
        self._may_start()
        self._context.service.cancel(_run_id(run_id))
        return self._told(run_id)

    def _may_start(self) -> None:
        """Say it in a program's words; the store would refuse as well."""
        service = self._context.service
        if not service.may(Action.START):
            raise InputError(
                f"“{service.actor.name.removeprefix(PROGRAM)}” may read, but not start or cancel runs.",
                "Use a token with the role operator.",
            )

    def _told(self, run_id: str, charts: bool = True) -> dict[str, Any]:
        service = self._context.service
        run = service.look(run_id)
        record = run.record
        return {
            "run_id": record.id,
            "symptom": record.spec.symptom,
            "pair": record.spec.pair_id,
            "status": str(record.status),
            "state": record.state,
            "queue_position": run.place,
            "stage": _stage(run.measured.log) if run.open else None,
            "error": _error(record),
            "page": f"/?run={record.id}",
            "result": self._result(run_id, charts) if record.state is not None else None,
        }

    def _result(self, run_id: str, charts: bool) -> dict[str, Any]:
        """The result as it leaves the program anywhere: without paths and names of this machine."""
        found: dict[str, Any] = json.loads(self._context.service.export(run_id, "json").text)
        return found if charts else {**found, "charts": {}}


CALLS: tuple[Callable[..., Any], ...] = (
    ProgramCalls.list_symptoms,
    ProgramCalls.list_pairs,
    ProgramCalls.match_complaint,
    ProgramCalls.start_probe,
    ProgramCalls.get_result,
    ProgramCalls.cancel_run,
)
"""What programs see, and nothing else, in the order of a triage."""


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text.", f'Give it in quotes, like {{"{name}": "..."}}.')
    return value


def _text(value: Any, name: str) -> str:
    text = _string(value, name)
    if len(text) > LONGEST_ID:
        raise InputError(f"{name} is too long.", f"It has at most {LONGEST_ID} characters.")
    return text


def _run_id(value: Any) -> str:
    text = _text(value, "run_id")
    if not SESSION_ID.fullmatch(text):
        raise InputError(
            "This is not the id of a session.", "Ids have letters and digits, as start_probe gives them."
        )
    return text


def _whole(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON knows one kind of number
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number.", f'Like {{"{name}": 20}}.')
    return value


def _chosen(symptom: str, options: Any, fix_seconds: int) -> dict[str, Any]:
    """The run's options, as the fields of step 2 would give them: settings that name files are not among them."""
    if options is not None and not isinstance(options, Mapping):
        raise InputError("options must be an object.", 'Like {"level": "hard"}.')
    text = json.dumps(dict(options or {}))
    if len(text) > LONGEST_OPTIONS:
        raise InputError("The options are too long.", "See list_symptoms for what can be set.")
    names = [o["name"] for o in _options(symptom)]
    unknown = next((str(n) for n in options or {} if n not in names), None)
    if unknown is not None:
        hint = f"Settings: {', '.join(names)}." if names else "This symptom has no settings of its own."
        raise InputError(f"There is no setting {unknown[:60]!r}.", hint)
    trials = {} if fix_seconds == DEFAULT_SECONDS else {FIX_SECONDS: fix_seconds}
    return {**chosen_options(symptom, text), **trials}


def _options(symptom: str) -> list[dict[str, Any]]:
    return [
        {
            "name": o.name,
            "about": f"{o.label}. {o.info}",
            "usual": o.usual or None,
            "values": [c.value for c in o.choices],
            "whole_number": list(o.whole) if o.whole else None,
        }
        for o in options_of(symptom)
        if not o.file
    ]


def _stage(events: tuple[Event, ...]) -> dict[str, Any] | None:
    stage = next((e.payload for e in reversed(events) if e.kind == "stage"), None)
    return None if stage is None else {k: stage.get(k) for k in ("name", "label", "done", "total")}


def _error(record: RunRecord) -> dict[str, str] | None:
    """What went wrong, without paths of this machine."""
    if not record.error_message:
        return None
    bare = Scrubber((), ())
    return {"message": bare.prose(record.error_message), "hint": bare.prose(record.error_hint)}
