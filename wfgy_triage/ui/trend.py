"""A pair over time: `/runs?trend=PAIR&symptom=S`, and the links that lead there."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from wfgy_triage.errors import InputError
from wfgy_triage.pairs import ID_PATTERN
from wfgy_triage.report.charts import Figure
from wfgy_triage.report.charts_trend import trend_figure, trend_table
from wfgy_triage.report.trend import Trend, trend_of, trend_point
from wfgy_triage.result import Result
from wfgy_triage.store.records import RunRecord, RunStatus
from wfgy_triage.ui.context import PageContext

MOST_SESSIONS = 100
"""Sessions that one trend shows, the newest."""


@dataclass(frozen=True)
class TrendView:
    """A trend as the page shows it: its heading, what stands under the figure, and the figure, where there is one."""

    head: str
    body: str
    figure: Figure | None = None


def trend_url(pair_id: str, symptom: str) -> str:
    """The address of a trend; relative, so that it holds under any root path."""
    return f"./runs?{urlencode({'trend': pair_id, 'symptom': symptom})}"


def trend_link(record: RunRecord, words: str = "Trend", name: str = "") -> str:
    """Return the link from a session to the trend that it belongs to."""
    label = f' aria-label="{escape(name)}"' if name else ""
    url = escape(trend_url(record.spec.pair_id, record.spec.symptom))
    return f'<a class="trend-link" href="{url}"{label}>{words}</a>'


def trend_view(context: PageContext, pair_id: str, symptom: str) -> TrendView:
    """Read the finished sessions and set them side by side.

    Raises:
        InputError: no such symptom, or a text that is no id of a pair.
    """
    if not ID_PATTERN.fullmatch(pair_id):
        raise InputError("This address does not name a model pair.", "Choose a session in the list.")
    title = context.catalog.symptoms[symptom].title
    name = context.pair_name(pair_id)
    trend = _read(context, pair_id, symptom)
    newest = trend.newest
    head = (
        f'<div class="step-head"><h2>{escape(title)}, over time</h2><p>{escape(name)}: every finished session, with '
        '95 % intervals. <a href="./runs">All sessions</a></p></div>'
    )
    if newest is None:
        return TrendView(head, _empty(pair_id, symptom, known=pair_id in context.pairs()))
    return TrendView(head, _words(trend) + trend_table(trend), trend_figure(trend))


def _read(context: PageContext, pair_id: str, symptom: str) -> Trend:
    service = context.service
    records = service.list(
        limit=MOST_SESSIONS, symptom=symptom, status=RunStatus.DONE, pair_id=pair_id
    )  # without their results
    whole = [service.get(r.id) for r in records]
    points = [trend_point(r, Result.from_json(r.result)) for r in whole if r.result is not None]
    there = service.count(symptom=symptom, status=RunStatus.DONE, pair_id=pair_id)
    return trend_of(points, max(0, there - len(records)))


def _empty(pair_id: str, symptom: str, known: bool) -> str:
    what = "No session of this symptom on this pair has finished yet." if known else (
        f"No pair with the id {escape(pair_id)} is registered, and no session has used one."
    )  # fmt: skip
    return (
        f'<div class="card"><p class="empty">{what} <a href="./">Start a triage</a>, or look at '
        f'<a href="./runs?{escape(urlencode({"symptom": symptom}))}">the sessions of this symptom</a>.</p></div>'
    )


def _words(trend: Trend) -> str:
    """What has to be known to read the figure, in sentences."""
    newest = trend.newest
    if newest is None:
        return ""
    said = []
    if len(trend.points) == 1:
        said.append("This is the only finished session so far; a trend needs a second one.")
    apart = sum(bool(why) for why in trend.apart)
    if apart:
        said.append(
            f"{apart} of {len(trend.points)} sessions measured something else than the newest (see the table). "
            "They are shown as grey squares and not joined by the line."
        )
    missing = sum(p.exl2 is None for p in trend.points)
    if missing:
        said.append(f"{missing} came to no value and stand in the table only.")
    if newest.rules > 1:
        said.append(
            f"{newest.rules} rules decide this symptom. The figure shows one of them, “{escape(newest.label)}”; the "
            "verdict is that of all."
        )
    if trend.joined and not any(p.fp16_interval for p in trend.joined):
        said.append("For this metric only EXL2's interval is kept.")
    return f'<p class="dim trend-words">{" ".join(said)}</p>' if said else ""
