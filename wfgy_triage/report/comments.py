"""What people said about a session, as HTML and as Markdown. All of it is foreign text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from wfgy_triage.report.export.markdown_text import fenced, plain
from wfgy_triage.report.format import moment
from wfgy_triage.store.comments import Comment

NAMELESS = "Without a name"


def comment_list(comments: Sequence[Comment]) -> str:
    """Return the comments, oldest first; empty without any."""
    items = "".join(
        f'<li><p class="dim small">{_who(c)}, {escape(moment(c.at))}</p>'
        f'<p class="said" translate="no">{escape(c.text)}</p></li>'
        for c in comments
    )
    return f'<ol class="comments">{items}</ol>' if items else ""


def comment_card(comments: Sequence[Comment]) -> str:
    """Return the comments as a part of a page; empty without any."""
    found = comment_list(comments)
    return f'<section class="card"><h3>Comments</h3>{found}</section>' if found else ""


def comments_markdown(comments: Sequence[Comment]) -> list[str]:
    """Return the comments as paragraphs, each text in a fence so that nothing in it is markup."""
    if not comments:
        return []
    found = ["### Comments"]
    for c in comments:
        found += [f"**{plain(c.who or NAMELESS)}**, {moment(c.at)}:", fenced(c.text)]
    return found


def _who(comment: Comment) -> str:
    foreign = ' translate="no"' if comment.who else ""
    return f"<b{foreign}>{escape(comment.who or NAMELESS)}</b>"
