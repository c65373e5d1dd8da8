"""Step 3 as HTML: how far a run is, what came out so far, and how a run ended that has no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.report.answers import ANSWER_SIDES, Row, answer_chip
from wfgy_triage.report.format import STATUS_LOOKS, Look, chip, duration
from wfgy_triage.report.icons import icon
from wfgy_triage.report.tally import Tally
from wfgy_triage.report.trials import TRIAL_LOOKS
from wfgy_triage.runs.watching import NEWEST, NOTES, stage_key
from wfgy_triage.store.records import Event, RunRecord, RunStatus

TRIALS_STAGE = "trials"
"""Name under which a run reports the change that it tries."""
FACT_LOOKS = {
    "tried": Look("Tried", "live", "check"),
    "hopeless": TRIAL_LOOKS["hopeless"],
    "skipped": TRIAL_LOOKS["skipped"],
    "unfinished": TRIAL_LOOKS["unfinished"],
}
NOW = Look("Trying now", "live", "pulse")


@dataclass(frozen=True)
class Stage:
    """One part of a run and how far it is."""

    label: str
    done: int
    total: int

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do in it."""
        return self.total > 0 and self.done >= self.total


def read_stages(events: Iterable[Event]) -> list[Stage]:
    """Return the stages in the order they began, each as last reported."""
    latest: dict[str, Stage] = {}
    for event in events:
        if event.kind == "stage":
            p, name = event.payload, stage_key(event)
            latest[name] = Stage(str(p.get("label") or name), _count(p.get("done")), _count(p.get("total")))
    return list(latest.values())


def status_card(
    record: RunRecord, events: Sequence[Event], position: int | None, worker_alive: bool, asks: bool = True
) -> str:
    """Return how far the run is, what holds it up, or how it ended.

    Args:
        record: the run.
        events: its log.
        position: how many runs come before it at most; None once it has ended.
        worker_alive: whether a worker process has given a sign of life.
        asks: whether this run asks the models questions.
    """
    look = STATUS_LOOKS[record.status]
    stages = "".join(_stage(s) for s in read_stages(events))
    trying = trial_stage(events) is not None
    notes = [e for e in events if e.kind == "note" and e.payload.get("text")][-NOTES:]
    log = "".join(f"<li>{escape(str(e.payload['text']))}</li>" for e in notes)
    return (
        f'<section class="card status"><div class="status-head">{chip(look)}'
        f"<p>{escape(_status_line(record, position, asks, trying))}</p></div>{_trouble(record, worker_alive)}"
        f'<ol class="stages">{stages}</ol>' + (f'<ul class="log">{log}</ul>' if log else "") + "</section>"
    )


def _status_line(record: RunRecord, position: int | None, asks: bool, trying: bool) -> str:
    if record.status is RunStatus.QUEUED:
        if not position:
            return "Next in line. Loading the models takes the first moments."
        return f"Waiting: at most {position} {'run comes' if position == 1 else 'runs come'} before this one."
    if record.status is RunStatus.RUNNING:
        if record.cancel_requested:
            return "Stopping after the question in work." if asks else "Stopping after the check in work."
        if trying:
            return "The metric missed its gate. Now changes are tried, one at a time."
        return "Both models are being asked." if asks else "The checks are being made."
    took = ""
    if record.timings.get("total"):
        took = f" after {duration(record.timings['total'])} of work"
    if record.status is RunStatus.CANCELLED:
        return f"Stopped{took}. Everything that was measured is kept."
    if record.status is RunStatus.FAILED:
        return f"The run ended early{took}. Everything measured before is kept."
    return f"Finished{took}."


def _trouble(record: RunRecord, worker_alive: bool) -> str:
    if record.error_message:
        hint = f" {escape(record.error_hint)}" if record.error_hint else ""
        tone = "bad" if record.status is RunStatus.FAILED else "mute"
        return (
            f'<p class="callout tone-{tone}" role="alert">{icon("warning")}<span>'
            f"<b>{escape(record.error_message)}</b>{hint}</span></p>"
        )
    if not worker_alive and record.status in (RunStatus.QUEUED, RunStatus.RUNNING):
        return (
            f'<p class="callout tone-warn" role="alert">{icon("warning")}<span><b>The measuring process is not '
            "running right now.</b> Nothing is lost: the run goes on by itself where it was as soon as the process is "
            "back. If this stays for minutes, ask whoever runs this server.</span></p>"
        )
    return ""


def _stage(stage: Stage) -> str:
    state = "done" if stage.finished else "now"
    share = 100 * stage.done / stage.total if stage.total else 0
    count = f"{stage.done} / {stage.total}" if stage.total else ""
    mark = icon("check") if stage.finished else ""
    label = escape(stage.label)
    return (
        f'<li class="stage {state}"><span class="stage-mark">{mark}</span><span class="stage-label">{label}</span>'
        f'<span class="stage-count">{count}</span><span class="bar" role="progressbar" aria-label="{label}" '
        f'aria-valuemin="0" aria-valuemax="{stage.total}" aria-valuenow="{stage.done}">'
        f'<span style="width:{share:.1f}%"></span></span></li>'
    )


def answers_so_far(rows: Sequence[Row], tallies: Mapping[str, Tally], ended: bool = False) -> str:
    """Return the newest answers, FP16 and EXL2 side by side, and a count that is no verdict while it runs.

    Args:
        rows: the questions that were answered last; the newest come first.
        tallies: all answers counted, by side.
        ended: whether the run has ended.
    """
    title = "The last answers" if ended else "Answers so far"
    if not rows:
        text = "No question was answered." if ended else "The first answers appear here, side by side."
        return f'<section class="card so-far"><h3>{title}</h3><p class="empty">{text}</p></section>'
    tally = " \N{MIDDLE DOT} ".join(_tally(side.upper(), tallies[side]) for side in ANSWER_SIDES)
    newest = sorted(rows, key=lambda row: row.latest, reverse=True)[:NEWEST]
    items = "".join(_live_row(row) for row in newest)
    return (
        f'<section class="card so-far"><div class="so-far-head"><h3>{title}</h3><p class="dim">{tally}'
        f"{'' if ended else '. Not a verdict yet.'}</p></div>"
        f'<div class="live-rows">{items}</div></section>'
    )


def stage_name(events: Iterable[Event]) -> str | None:
    """Name of the stage that reported last; None before the first."""
    last = _last_stage(events)
    return str(last.payload.get("name") or "") if last is not None else None


def trial_stage(events: Iterable[Event]) -> Stage | None:
    """The change that is being tried, where the last thing reported is one."""
    last = _last_stage(events)
    return read_stages([last])[0] if last is not None and last.payload.get("name") == TRIALS_STAGE else None


def _last_stage(events: Iterable[Event]) -> Event | None:
    return next((e for e in reversed(list(events)) if e.kind == "stage"), None)


def trials_so_far(trials: Sequence[TrialFacts], events: Sequence[Event], ended: bool = False) -> str:
    """Return the change in work and those that are through; empty before the first one and once the run has ended."""
    stage = None if ended else trial_stage(events)
    if ended or (stage is None and not trials):
        return ""
    items = "".join(_trial_row(FACT_LOOKS[t.status], t.label, _told(t)) for t in trials)
    if stage is not None:
        label = stage.label.removeprefix("Trying: ")
        items += _trial_row(NOW, label, f"{stage.done} of {stage.total} done.")
    return (
        '<section class="card trying"><div class="so-far-head"><h3>Changes, one at a time</h3>'
        f'<p class="dim">Judged when the run ends.</p></div><ol class="checks">{items}</ol></section>'
    )


def _told(trial: TrialFacts) -> str:
    if trial.status == "tried" and trial.lost:
        return f"{trial.came_back}. {trial.reason}".strip()
    return trial.reason


def _trial_row(look: Look, label: str, told: str) -> str:
    return f"<li>{chip(look)}<div><b>{escape(label)}</b><span>{escape(told)}</span></div></li>"


def _tally(name: str, tally: Tally) -> str:
    if not tally.judged:
        return f"{name}: {tally.answered} answered"
    return f"{name}: {tally.valid} of {tally.judged} {tally.word}"


def _live_row(row: Row) -> str:
    sides = "".join(
        f'<div class="live-side"><p><b>{name}</b> {answer_chip(answer)}</p>'
        f"<pre>{escape(answer.text) if answer else ''}</pre></div>"
        for name, answer in (("FP16", row.fp16), ("EXL2", row.exl2))
    )
    return f'<article><h4 translate="no">{escape(row.question)}</h4><div class="two">{sides}</div></article>'


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
