"""A session as one HTML file: the page's own fragments and style sheet, its figures drawn, no script, no request.

It opens from disk, follows the reader's light or dark setting, and prints with everything unfolded. Its policy forbids
scripts and every request, so that foreign text that ever got through as markup could do nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape

from wfgy_triage.catalog import Catalog
from wfgy_triage.languages.document import in_language, language_links
from wfgy_triage.report.answer_folds import answer_folds
from wfgy_triage.report.answers_changed import changed_answers
from wfgy_triage.report.comments import comment_card
from wfgy_triage.report.diagnosis import cause_card
from wfgy_triage.report.doctor import doctor_panel, exact_changes
from wfgy_triage.report.export.session import Session, telling
from wfgy_triage.report.export.svg import figure_svg
from wfgy_triage.report.figures import (
    FIGURES,
    FIX_FIGURE,
    FigureKind,
    build_figures,
    figure_table,
    fix_figure,
)
from wfgy_triage.report.files import files_card
from wfgy_triage.report.fix import fix_head, fix_rest
from wfgy_triage.report.format import STATE_LOOKS, moment
from wfgy_triage.report.guide import guide_track
from wfgy_triage.report.icons import icon
from wfgy_triage.report.provenance import provenance_panel
from wfgy_triage.report.recheck import recheck_line
from wfgy_triage.report.verdict import baseline_note, metrics_table, verdict_header
from wfgy_triage.settings import REPO_ROOT

THEME = REPO_ROOT / "assets" / "theme"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_DARK = re.compile(r"^\.dark \{(?P<values>[^}]*)\}", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def session_html(session: Session, catalog: Catalog, links: str = "") -> str:
    """Return the document, in English.

    Args:
        session: what it is of.
        catalog: the fix map.
        links: stands at the end of the masthead; HTML.
    """
    result = session.result
    symptom = catalog.symptoms.get(result.symptom)
    title = f"{STATE_LOOKS[result.state].word}: {symptom.title if symptom else result.symptom}"
    body = "".join(
        part for part in (_measured(session, catalog), _fix(session, catalog), _end(session)) if part
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{style_sheet()}</style></head>"
        f'<body class="gradio-container">{_masthead(session, links)}<main class="stack">{body}</main></body></html>\n'
    )


@lru_cache(maxsize=1)
def style_sheet() -> str:
    """The page's style sheet and the report's few rules; dark colours follow the reader's setting, not on paper."""
    page = (THEME / "app.css").read_text(encoding="utf-8")
    dark = _DARK.search(page)
    if dark is None:
        raise RuntimeError("assets/theme/app.css has no block of dark colours")
    own = (THEME / "report.css").read_text(encoding="utf-8")
    colours = f"@media screen and (prefers-color-scheme: dark) {{ :root {{{dark['values']}}} }}"
    return _COMMENT.sub("", f"{page}\n{colours}\n{own}")


def shared_html(session: Session, catalog: Catalog, language: str) -> str:
    """Return the document as a page that is served: in a language, with links to itself in the others."""
    return in_language(session_html(session, catalog, language_links(language)), language)


def _masthead(session: Session, links: str) -> str:
    left_out = " Texts of questions and answers were left out." if session.redacted else ""
    name = f'<b translate="no">{escape(session.record.title)}</b> ' if session.record.title else ""
    return (
        f'<header class="masthead"><span class="logo">{icon("pulse")}</span><div><h1>EXL2 triage report</h1>'
        f"<p>{name}<span>Session {escape(session.record.id)}, recorded {moment(session.record.created_at)}.</span>"
        f"{left_out}</p>"
        f"</div>{links}</header>"
    )


def _measured(session: Session, catalog: Catalog) -> str:
    result = session.result
    symptom = catalog.symptoms.get(result.symptom)
    asks = symptom is None or symptom.asks_questions
    verdict = verdict_header(result, catalog, session.stopped) + guide_track(result, catalog)
    return (
        f"<section>{verdict}{baseline_note(result)}</section>{recheck_line(result, linked=False)}"
        f"{metrics_table(result, catalog)}{cause_card(result, catalog, with_checks=asks)}{_figures(session)}"
        f"{doctor_panel(result, asks)}{_answers(session)}"
    )


def _figures(session: Session) -> str:
    charts = session.result.charts
    drawn = build_figures(charts)
    cards = [
        _figure(kind, figure_svg(drawn[kind.name], kind.title, kind.name), figure_table(kind.name, charts))
        for kind in FIGURES
        if kind.name in drawn
    ]
    return f'<div class="plots">{"".join(cards)}</div>' if cards else ""


def _figure(kind: FigureKind, picture: str, table: str) -> str:
    return (
        f'<section class="card chart"><h3>{kind.title}</h3><p class="dim small">{kind.caption}</p>'
        f"{picture}{table}</section>"
    )


def _answers(session: Session) -> str:
    rows = session.rows
    if not rows or session.redacted:
        return ""
    first = telling(rows)
    same = [r for r in rows if r not in first]
    parts = [
        answer_folds("Lost or answered differently", first),
        answer_folds("The same on both sides", same),
    ]
    return f'<section class="card"><h3>Answers side by side</h3>{"".join(parts)}</section>'


def _fix(session: Session, catalog: Catalog) -> str:
    result = session.result
    figure, numbers = fix_figure(result)
    drawn = (
        _figure(FIX_FIGURE, figure_svg(figure, FIX_FIGURE.title, FIX_FIGURE.name), numbers) if figure else ""
    )
    changed = "" if session.redacted else changed_answers(session.changed)
    return (
        f'<h2 class="part">What to change</h2>{fix_head(result, catalog)}{drawn}'
        f"{files_card(result, session.kinds)}{exact_changes(result)}{changed}{fix_rest(result, catalog)}"
    )


def _end(session: Session) -> str:
    return comment_card(session.comments) + provenance_panel(session.result)
