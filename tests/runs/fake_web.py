"""A process that stands for the web process: it keeps a fake worker running and waits to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.runs.run_fakes import make_settings
from wfgy_triage.runs.supervisor import WorkerSupervisor

if __name__ == "__main__":
    home = Path(sys.argv[1])
    WorkerSupervisor(make_settings(home), [sys.executable, "-m", "tests.runs.fake_worker", str(home)]).start()
    while True:
        time.sleep(1)
