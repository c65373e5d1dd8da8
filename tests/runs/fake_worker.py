"""A worker process with the fake parts; its home folder is the argument."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.runs.run_fakes import fake_tools, make_settings
from wfgy_triage.runs import worker


def main(home: Path, database_url: str = "") -> int:
    return worker.main(make_settings(home, database_url), lambda: fake_tools(home))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
