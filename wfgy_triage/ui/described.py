"""What people write about a session, as the page shows it."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from wfgy_triage.store.records import RunRecord

DESCRIBE_HELP = '<p class="dim">So that others find this session and know what it was about.</p>'


def tag_links(record: RunRecord) -> str:
    """Return the tags of a session; each leads to the sessions that have it."""
    return "".join(
        f'<a class="tag" translate="no" href="./runs?{urlencode({"tag": t})}">{escape(t)}</a>'
        for t in record.tags
    )


def search_form(text: str, tag: str) -> str:
    """Return the search of the list: an ordinary form, so that it works from the keyboard and stays in the address."""
    only = (
        f'<p class="small">With the tag <b translate="no">{escape(tag)}</b>. '
        '<a class="all-of-them" href="./runs">All sessions</a></p>'
        if tag
        else ""
    )
    return (
        '<form class="search" role="search" action="./runs" method="get"><label for="session-search">Search</label>'
        f'<input id="session-search" type="search" name="q" maxlength="100" value="{escape(text)}" '
        'placeholder="Name, note, tag, pair">'
        f'<button type="submit">Search</button></form>{only}'
    )
