"""Links to one question of a session, to be copied."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from wfgy_triage.report.answers import Row

# Copies the address of the link beside the button, as the browser has completed it.
COPY_LINK_JS = """
element.addEventListener('click', async event => {
  const button = event.target.closest('[data-copy-link]');
  if (!button) return;
  const link = button.parentElement.querySelector('a');
  try {
    await navigator.clipboard.writeText(link.href);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(link);
    link.focus();
    button.textContent = 'Use the link';
  }
  setTimeout(() => { button.textContent = 'Copy link'; }, 2000);
});
"""


def question_url(run_id: str, key: str = "") -> str:
    """The address of a session's questions, or of one of them; relative, so that it holds under any root path."""
    return f"./runs?{urlencode({'run': run_id, **({'question': key} if key else {})})}"


def question_link(run_id: str, row: Row) -> str:
    """Return the link to one question and the button that copies it."""
    name = escape(f"to the question: {row.question[:80]}")
    return (
        f'<span class="copy-link"><a href="{escape(question_url(run_id, row.key))}" aria-label="Link {name}">Link</a>'
        f'<button type="button" data-copy-link aria-label="Copy link {name}">Copy link</button></span>'
    )
