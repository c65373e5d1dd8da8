"""A worker process with the fake parts, on a machine whose clock and disk can be upset; its home is the argument."""

from __future__ import annotations

import logging
import sqlite3
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import sqlalchemy as sa

from tests.runs.run_fakes import fake_tools, make_settings
from wfgy_triage.runs import worker
from wfgy_triage.store import database, rows

LOG = "said.log"
"""In the home: what the worker logs."""


def main(home: Path, database_url: str = "", device: str = "") -> int:
    upset(home)
    logging.getLogger("wfgy_triage.runs").addHandler(logging.FileHandler(home / LOG))
    return worker.main(make_settings(home, database_url), lambda: fake_tools(home), device)


def upset(home: Path) -> None:
    """What files in the home ask for: `clock` (seconds that it is wrong by, read each time), `patience` (seconds that
    a lock is waited for), `disk` (pages that the database may grow to)."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            wrong = home / "clock"
            return datetime.now(tz) + timedelta(seconds=float(wrong.read_text()) if wrong.exists() else 0)

    rows.datetime = Clock
    if (patience := home / "patience").exists():
        database.BUSY_TIMEOUT_S = float(patience.read_text())
    if (disk := home / "disk").exists():
        pages = int(disk.read_text())

        def fill(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        sa.event.listen(sa.Engine, "connect", fill)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), device=sys.argv[-1] if "--device" in sys.argv else ""))
