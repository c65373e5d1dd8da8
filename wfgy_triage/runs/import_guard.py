"""Before exllamav2 is imported by a process that measures, another process tries it.

The import may compile for minutes, or crash the process that does it. A failure ends as the doctor's finding, with the
words and the cause that the doctor has for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wfgy_triage.checks import load_versions
from wfgy_triage.doctor.environment import judge_import
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.doctor.subprocesses import Outcome as Ended
from wfgy_triage.doctor.subprocesses import try_import
from wfgy_triage.engine_settings import EngineSettings, Side
from wfgy_triage.engines.base import Engine, Mode
from wfgy_triage.engines.exllamav2_library import check_gpu
from wfgy_triage.engines.loading import DEFAULTS, open_engine
from wfgy_triage.errors import PrerequisiteError

REFERENCE_HINT = (
    "To measure the weights without the library, set `backend: reference` in the pair's engine block."
)


class GuardedOpening:
    """`open_engine`, with the import tried elsewhere once before the first engine that needs it.

    Args:
        open_engine: loads one side.
        try_import: imports the library in a process of its own.
    """

    def __init__(
        self,
        open_engine: Callable[..., Engine] = open_engine,
        try_import: Callable[[], Ended] = try_import,
    ) -> None:
        self._open, self._try = open_engine, try_import
        self._imports = False

    def __call__(
        self,
        folder: Path,
        *,
        side: Side,
        mode: Mode = "reproducible",
        share_with: Engine | None = None,
        settings: EngineSettings = DEFAULTS,
    ) -> Engine:
        """Load one side of a pair; see `engines.loading.open_engine`.

        Raises:
            PrerequisiteError: the library does not import here; the doctor's words and cause.
        """
        if settings.uses_library(side):
            self._check(side)
        return self._open(folder, side=side, mode=mode, share_with=share_with, settings=settings)

    def _check(self, side: Side) -> None:
        check_gpu()
        if self._imports:
            return
        found = judge_import(self._try(), load_versions())
        if found.state is Outcome.FAIL:
            hint = f"{found.do} {REFERENCE_HINT}" if side == "exl2" else found.do
            raise PrerequisiteError(f"exllamav2 cannot be used here. {found.seen}", hint, found.cause)
        self._imports = True
