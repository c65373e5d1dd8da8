"""Serve the triage page: `python app.py`, or as it is on a hosted Gradio Space. Options are those of `serve`."""

from __future__ import annotations

import os
import sys

from wfgy_triage.cli import main

ON_SPACE = ("--host", "0.0.0.0", "--port", "7860")  # noqa: S104 - its proxy expects this interface and port

if __name__ == "__main__":
    sys.argv[1:1] = ["serve", *(ON_SPACE if os.environ.get("SPACE_ID") else ())]
    main()
