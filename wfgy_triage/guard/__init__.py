"""The guard in production: checks of single answers, and a server in front of an OpenAI-compatible one.

`Guard` is the library: pure checks, no torch, no web page. The server is in `guard.server` (docs/guard.md).
"""

from wfgy_triage.guard.checks import (
    CitationCheck,
    Guard,
    JsonCheck,
    Snippet,
    Verdict,
    check_citations,
    check_json,
)

__all__ = ["CitationCheck", "Guard", "JsonCheck", "Snippet", "Verdict", "check_citations", "check_json"]
