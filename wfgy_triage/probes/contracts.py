"""The frames in which the questions of the citation and JSON probes can be asked, as changes try them.

A frame keeps question, wording, seed and answer budget; only the prompt's words change. It covers every question of
the set, since a change may be confirmed on more than the run has asked. It has to fit into the context of the engine
that made it, FP16's; whether it fits into that of a changed EXL2 is looked at where that is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from wfgy_triage.engines.base import Engine
from wfgy_triage.probes.items import Item, conversation, refuse_too_long
from wfgy_triage.probes.subject import Contract
from wfgy_triage.workload import contracts as words
from wfgy_triage.workload.citations import RECORD, CitationTask, CitationWorkload
from wfgy_triage.workload.json_records import JsonWorkload

ANY = "the numbers of the passages"
"""What stands for the allowed numbers in the text of a frame that people copy."""
FIELDS = "<your schema's fields>"


def citation_contracts(workload: CitationWorkload, engine: Engine) -> Sequence[Contract]:
    """The rules first; and the rules first with a reminder behind the question."""
    tasks = {t.question.id: t for t in workload.tasks}

    def asked(item: Item, remind: bool) -> words.Messages:
        task = tasks[item.question.removesuffix(RECORD)].worded(item.paraphrase)
        if item.question.endswith(RECORD):
            reminder = words.RECORD_REMINDER if remind else ""
            rules = words.RECORD_RULES.format(allowed=", ".join(task.supplied))
            return words.framed(workload.record_messages(task), rules, reminder)
        reminder = words.CITATION_REMINDER.format(allowed=_allowed(task)) if remind else ""
        rules = words.CITATION_RULES.format(allowed=_allowed(task))
        return words.framed(workload.messages(task), rules, reminder)

    rules = words.CITATION_RULES.format(allowed=ANY)
    return _frames(asked, engine, rules, words.CITATION_REMINDER.format(allowed=ANY))


def json_contracts(workload: JsonWorkload, engine: Engine) -> Sequence[Contract]:
    """The fields first; and the fields first with their names behind the note."""
    questions = {q.id: q for q in workload.questions}

    def asked(item: Item, remind: bool) -> words.Messages:
        found = questions[item.question]
        kind = workload.classes[found.record_class]
        names = ", ".join(kind.schema.get("properties", ()))
        reminder = words.JSON_REMINDER.format(names=names) if remind and names else ""
        rules = words.JSON_RULES.format(fields=words.described(kind.schema) or "as in the schema")
        return words.framed(workload.messages(found), f"{rules}\n{kind.told}".rstrip(), reminder)

    rules = words.JSON_RULES.format(fields=FIELDS)
    return _frames(asked, engine, rules, words.JSON_REMINDER.format(names=FIELDS))


def _frames(
    asked: Callable[[Item, bool], words.Messages], engine: Engine, rules: str, reminder: str
) -> Sequence[Contract]:
    def restate(remind: bool) -> Callable[[Item], Item]:
        def restated(item: Item) -> Item:
            messages = asked(item, remind)
            ids = engine.encode(engine.render_chat(messages))
            changed = replace(item, prompt_ids=ids, messages=conversation(messages))
            refuse_too_long([changed], engine)
            return changed

        return restated

    prompt = words.PROMPT
    return (
        Contract("first", "State the contract first", rules + prompt, restate(False)),
        Contract(
            "reminded",
            "State the contract first and remind at the end",
            f"{rules}{prompt}\n{reminder}",
            restate(True),
        ),
    )


def _allowed(task: CitationTask) -> str:
    return ", ".join(f"[{mark}]" for mark in task.supplied)
