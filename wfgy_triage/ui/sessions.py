"""The list of recorded sessions as HTML, with filters that are ordinary links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from wfgy_triage.report.format import STATE_LOOKS, STATUS_LOOKS, chip, duration, moment
from wfgy_triage.result import State
from wfgy_triage.store.filters import LONGEST_SEARCH
from wfgy_triage.store.records import RunRecord, RunStatus
from wfgy_triage.ui.compare import COMPARE_BAR, compare_box
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.described import search_form, tag_links
from wfgy_triage.ui.people.shown import by_person, person
from wfgy_triage.ui.trend import trend_link

PAGE_SIZE = 25
STATUS_FILTERS = (
    ("", "All"),
    ("done", "Finished"),
    ("running", "Measuring"),
    ("queued", "Waiting"),
    ("cancelled", "Stopped"),
    ("failed", "Could not finish"),
)

IMPORTED = ' <span class="tag">imported</span>'


@dataclass(frozen=True)
class ListQuery:
    """What of the list is shown, as in the page's address. Unknown values fall back to everything."""

    status: RunStatus | None = None
    symptom: str | None = None
    page: int = 1
    text: str = ""
    tag: str = ""
    owner: str = ""

    @classmethod
    def parse(
        cls,
        status: str,
        symptom: str,
        page: str,
        known_symptoms: Sequence[str],
        text: str = "",
        tag: str = "",
        owner: str = "",
    ) -> ListQuery:
        """Read the address's parameters; anything not understood is dropped."""
        return cls(
            text=text.strip()[:LONGEST_SEARCH],
            tag=tag.strip()[:LONGEST_SEARCH],
            owner=owner.strip()[:LONGEST_SEARCH],
            status=RunStatus(status) if status in set(RunStatus) else None,
            symptom=symptom if symptom in known_symptoms else None,
            page=max(1, int(page)) if page.isdecimal() and len(page) < 6 else 1,
        )

    def url(self, **changes: object) -> str:
        """The address of the list with some parameters changed; relative, so it holds under any root path."""
        now = {"status": self.status or "", "symptom": self.symptom or "", "q": self.text, "tag": self.tag}
        values = {**now, "by": self.owner, "page": self.page, **changes}
        kept = {k: str(v) for k, v in values.items() if v not in ("", None) and not (k == "page" and v == 1)}
        return f"./runs?{urlencode(kept)}" if kept else "./runs"


def sessions_page(context: PageContext, query: ListQuery) -> str:
    """Return the filters and the sessions that match, newest first."""
    records = context.service.list(
        limit=PAGE_SIZE + 1,
        offset=(query.page - 1) * PAGE_SIZE,
        symptom=query.symptom,
        status=query.status,
        text=query.text,
        tag=query.tag,
        owner=query.owner,
    )
    shown, more = records[:PAGE_SIZE], len(records) > PAGE_SIZE
    search = search_form(query.text, query.tag)
    return f"{search}{_filters(context, query)}{_table(context, shown, query)}{_pager(query, more)}"


def _filters(context: PageContext, query: ListQuery) -> str:
    by_status = [
        (word, query.url(status=value, page=1), (query.status or "") == value)
        for value, word in STATUS_FILTERS
    ]
    symptoms = [
        ("", "Any symptom"),
        *((s.id, s.title) for s in context.catalog.symptoms.values() if s.id in context.probed),
    ]
    by_symptom = [
        (word, query.url(symptom=value, page=1), (query.symptom or "") == value) for value, word in symptoms
    ]
    groups = [("By state", by_status)]
    if len(by_symptom) > 2:
        groups.append(("By symptom", by_symptom))
    groups += by_person(context.service, query.owner, query.url)
    return "".join(
        f'<nav class="filter" aria-label="{name}">'
        + "".join(
            f'<a href="{escape(url)}"{" aria-current=true" if current else ""}>{escape(word)}</a>'
            for word, url, current in links
        )
        + "</nav>"
        for name, links in groups
    )


def _table(context: PageContext, records: Sequence[RunRecord], query: ListQuery) -> str:
    if not records:
        text = (
            "No session matches this filter."
            if query != ListQuery()
            else 'No sessions yet. <a href="./">Start the first triage</a>; it is recorded here by itself.'
        )
        return f'<div class="card"><p class="empty">{text}</p></div>'
    rows = "".join(_row(context, record) for record in records)
    return (
        f'{COMPARE_BAR}<div class="card table-card"><table class="sessions"><caption>Recorded sessions</caption>'
        "<thead><tr>"
        '<th scope="col">Started</th><th scope="col">Symptom</th><th scope="col">Models</th>'
        '<th scope="col">By</th><th scope="col">Questions</th><th scope="col">Took</th><th scope="col">State</th>'
        '<th scope="col">Compare</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(context: PageContext, record: RunRecord) -> str:
    took = "\N{EM DASH}"
    if record.timings.get("total"):
        took = duration(record.timings["total"])
    started = moment(record.created_at)
    title = context.symptom_title(record.spec.symptom)
    return (
        f'<tr><th scope="row"><a href="./?run={escape(record.id)}" '
        f'aria-label="Open the session of {started}: {escape(title)}">{started}</a></th>'
        f'<td data-l="Symptom">{_named(record)}{escape(title)}</td>'
        f'<td data-l="Models"><span translate="no">{escape(context.pair_name(record.spec.pair_id))}</span>'
        f"{_trend(record)}</td>"
        f'<td data-l="By"><span translate="no">{escape(person(record.owner))}</span></td>'
        f'<td data-l="Questions">{_questions(context, record)}</td><td data-l="Took">{took}</td>'
        f'<td data-l="State">{_state(record)}{IMPORTED if record.imported else ""}</td>'
        f'<td class="pick-two">{compare_box(record, started)}</td></tr>'
    )


def _trend(record: RunRecord) -> str:
    """The link to the trend that a finished session is part of."""
    if record.state is None:
        return ""
    name = f"Trend of the pair {record.spec.pair_id} for {record.spec.symptom}"
    return f"<br>{trend_link(record, name=name)}"


def _named(record: RunRecord) -> str:
    """What people call it, and its tags."""
    name = f'<b translate="no">{escape(record.title)}</b><br>' if record.title else ""
    return f'{name}<span class="tags">{tag_links(record)}</span>' if name or record.tags else ""


def _questions(context: PageContext, record: RunRecord) -> str:
    return str(record.spec.questions) if context.asks_questions(record.spec.symptom) else "none"


def _state(record: RunRecord) -> str:
    if record.status is not RunStatus.DONE:
        return chip(STATUS_LOOKS[record.status])
    if record.state in set(State):
        return chip(STATE_LOOKS[State(record.state)])
    return chip(STATE_LOOKS[State.NOT_MEASURED])


def _pager(query: ListQuery, more: bool) -> str:
    links = []
    if query.page > 1:
        links.append(f'<a href="{escape(query.url(page=query.page - 1))}">Newer</a>')
    if more:
        links.append(f'<a href="{escape(query.url(page=query.page + 1))}">Older</a>')
    return f'<nav class="filter pager" aria-label="Pages">{"".join(links)}</nav>' if links else ""
