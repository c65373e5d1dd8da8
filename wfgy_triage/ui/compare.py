"""Choosing two sessions in the list, and what differs between them."""

from __future__ import annotations

from html import escape

from wfgy_triage.errors import InputError
from wfgy_triage.report.compare import Pairing, why_unpaired
from wfgy_triage.report.compare_html import comparison_page
from wfgy_triage.report.export.session import Session
from wfgy_triage.store.records import RunRecord
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import SESSION_ID

# Two boxes can be ticked; the older one (further down) is what is compared with. The ids are the boxes' values, so no
# text of a session becomes part of the address.
COMPARE_JS = """
element.addEventListener('change', event => {
  if (event.target.dataset.compare === undefined) return;
  const boxes = [...element.querySelectorAll('[data-compare]')];
  const picked = boxes.filter(box => box.checked);
  boxes.forEach(box => { box.disabled = picked.length > 1 && !box.checked; });
  const bar = element.querySelector('.compare-bar');
  bar.hidden = picked.length === 0;
  bar.querySelector('span').textContent = picked.length < 2
    ? 'One session is chosen. Choose one more to compare.' : 'Two sessions are chosen.';
  const go = bar.querySelector('a');
  go.hidden = picked.length < 2;
  go.href = './runs?compare=' + picked.map(box => encodeURIComponent(box.value)).reverse().join(',');
});
"""
COMPARE_BAR = (
    '<div class="compare-bar" role="status" hidden><span></span>'
    '<a href="./runs" hidden>Compare the two</a></div>'
)


def compare_box(record: RunRecord, name: str) -> str:
    """Return the box that chooses a session for comparing; a session without a result has none."""
    if record.state is None:
        return ""
    return (
        f'<label class="compare-box"><input type="checkbox" data-compare value="{escape(record.id)}" '
        f'aria-label="Compare the session of {escape(name)}"><span>Compare</span></label>'
    )


def comparison(context: PageContext, asked: str, pair: bool) -> str:
    """Return what differs.

    Args:
        context: of the page.
        asked: the address's parameter, `ID,ID`; the first is the session to compare with.
        pair: whether to pair the metrics, which takes seconds; without, the page says that it is being done.

    Raises:
        InputError: not two ids, no such session, one without a result, or twice the same.
    """
    ids = asked.split(",")
    if len(ids) != 2 or not all(SESSION_ID.fullmatch(i) for i in ids):
        raise InputError("This address does not name two sessions.", "Choose two in the list of sessions.")
    pairing = context.service.pair_elsewhere if pair else _later
    return comparison_page(context.service.compare(ids[0], ids[1], pairing), context.catalog)


def _later(first: Session, second: Session) -> Pairing:
    reason = why_unpaired(first, second)
    return Pairing(reason=reason, pending=not reason)
