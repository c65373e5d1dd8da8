"""Serve the triage page: `python app.py`, or as it is on a hosted Gradio Space."""

from __future__ import annotations

import os
import sys

from wfgy_triage.errors import TriageError
from wfgy_triage.settings import load_settings
from wfgy_triage.ui.serving import serve_forever


def main() -> int:
    """Settings, build, launch. Returns the exit code: 2 when something needed is missing."""
    on_space = bool(os.environ.get("SPACE_ID"))  # its proxy expects this interface and port
    host, port = ("0.0.0.0", 7860) if on_space else (None, None)  # noqa: S104
    try:
        serve_forever(load_settings(host=host, port=port))
    except TriageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
