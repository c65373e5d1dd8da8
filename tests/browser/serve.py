"""The web application without a worker, for the browser tests: `serve.py PORT`, settings from the environment.

The matcher's process is a stand-in that knows a few words.
"""

import sys

import uvicorn

from wfgy_triage.runs.matching import MatcherClient
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import load_settings
from wfgy_triage.ui.app import build_app

settings = load_settings()
matcher = MatcherClient(settings, (sys.executable, "-m", "tests.runs.fake_matcher"))
matcher.start()
uvicorn.run(
    build_app(settings, TriageService(settings), matcher.match),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_level="warning",
)
