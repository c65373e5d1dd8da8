"""Everything that two folders tell without a model being loaded. Results are kept while the files stay as they are."""

from __future__ import annotations

from collections.abc import Callable

from wfgy_triage.doctor.configuration import check_configuration
from wfgy_triage.doctor.finding import Finding, in_order
from wfgy_triage.doctor.kept import Kept
from wfgy_triage.doctor.served import no_folders
from wfgy_triage.doctor.side import Side
from wfgy_triage.pairs import Pair, files_signature

_kept: Kept[tuple[Finding, ...]] = Kept(8)


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


def check_folders(pair: Pair, progress: Callable[[int, int], None] = no_progress) -> tuple[Finding, ...]:
    """Compare the two folders of a pair, in the order of the ladder; never raises for what the folders hold.

    A second call for unchanged files (names, sizes, times) returns what the first one found.

    Args:
        pair: the folders; their models need not be loadable.
        progress: told how many of how many matrices are compared.
    """
    if not pair.folders_known:
        return no_folders(pair)
    return _kept.get(files_signature(pair), lambda: _check(pair, progress))


def _check(pair: Pair, progress: Callable[[int, int], None]) -> tuple[Finding, ...]:
    # Torch and transformers come with these; whoever only asks for what is kept does not wait for them.
    from wfgy_triage.doctor.sampling import check_sampling
    from wfgy_triage.doctor.texts import check_texts
    from wfgy_triage.doctor.weights import check_weights

    fp16, exl2 = Side("FP16", pair.fp16), Side("EXL2", pair.exl2)
    found = [
        *check_texts(fp16, exl2),
        *check_configuration(fp16, exl2),
        check_sampling(fp16, exl2),
        *check_weights(fp16, exl2, progress),
    ]
    return in_order(found)
