"""A session's questions on a page of their own: `/runs?run=ID`, with `&question=Q` unfolded at one of them."""

from __future__ import annotations

from html import escape

from wfgy_triage.errors import InputError
from wfgy_triage.report.answer_folds import answer_folds
from wfgy_triage.report.comments import comment_card
from wfgy_triage.report.export.session import telling
from wfgy_triage.report.format import moment, state_chip
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import SESSION_ID
from wfgy_triage.ui.permalinks import question_link
from wfgy_triage.ui.trend import trend_link
from wfgy_triage.ui.views import RunView, read_run

LONGEST_KEY = 300
QUESTIONS_HEAD = (
    '<div class="step-head"><h2>Questions of a session</h2><p>Unfold a question to read both answers. Each has a '
    "link of its own.</p></div>"
)
# The list is drawn some moments after its content has come; then the question that was asked for is shown.
TO_ASKED_JS = """() => {
  let tries = 40;
  const look = () => {
    const asked = document.querySelector('#sessions [data-asked]');
    if (asked) { asked.scrollIntoView({block: 'start'}); asked.focus({preventScroll: true}); }
    else if (tries-- > 0 && new URL(location.href).searchParams.has('question')) setTimeout(look, 50);
  };
  look();
}"""


def session_questions(context: PageContext, run_id: str, question: str = "") -> str:
    """Return the page's content.

    Args:
        context: of the page.
        run_id: the session.
        question: key of the question that is unfolded; empty for none.

    Raises:
        InputError: no such session.
    """
    if not SESSION_ID.fullmatch(run_id):
        raise InputError("This address does not name a session.", "Choose one in the list of sessions.")
    view = read_run(context, run_id)
    missing = _missing(question) if question and view.row(question) is None else ""
    comments = comment_card(context.service.comments(run_id))
    return f'<div class="stack">{_head(context, view)}{missing}{_lists(view, question)}{comments}</div>'


def _head(context: PageContext, view: RunView) -> str:
    record, result = view.record, view.result
    state = state_chip(result.state) if result else "no verdict"
    title = f'<b translate="no">{escape(record.title)}</b>, ' if record.title else ""
    return (
        f'<section class="card compare-head"><h3>{escape(context.symptom_title(record.spec.symptom))}</h3>'
        f"<p>{state}</p><p>{escape(result.headline) if result else ''}</p>"
        f'<p class="dim small">{title}<span translate="no">'
        f"{escape(context.pair_name(record.spec.pair_id))}</span>, {moment(record.created_at)}</p>"
        f'<p class="session-links"><a href="./?run={escape(record.id)}">Open the session</a> '
        f'{trend_link(record, "Trend of this pair")} <a href="./runs">All sessions</a></p></section>'
    )


def _lists(view: RunView, question: str) -> str:
    if not view.rows:
        return '<div class="card"><p class="empty">This session has no answers.</p></div>'
    first = telling(view.rows)
    keys = {row.key for row in first}
    parts = [
        answer_folds(title, rows, question, lambda row: question_link(view.record.id, row))
        for title, rows in (
            ("Lost or answered differently", first),
            ("The same on both sides", [row for row in view.rows if row.key not in keys]),
        )
    ]
    return f'<section class="card">{"".join(parts)}</section>'


def _missing(question: str) -> str:
    return (
        '<p class="callout tone-warn" role="alert"><span><b>This session has no question '
        f"“{escape(question[:LONGEST_KEY])}”.</b> All that it asked are below.</span></p>"
    )
