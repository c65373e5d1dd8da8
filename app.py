"""Serve the triage page: `python app.py`, or as it is on a hosted Gradio Space."""

from __future__ import annotations

import os
import sys

import uvicorn

from wfgy_triage.errors import TriageError
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.supervisor import WorkerSupervisor
from wfgy_triage.settings import load_settings
from wfgy_triage.ui.app import build_app


def main() -> int:
    """Settings, build, launch. Returns the exit code: 2 when something needed is missing."""
    on_space = bool(os.environ.get("SPACE_ID"))
    try:
        settings = load_settings(host="0.0.0.0" if on_space else None)  # noqa: S104 - the host's proxy is in front
        app = build_app(settings, TriageService(settings))
        WorkerSupervisor(settings).start()
    except TriageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
