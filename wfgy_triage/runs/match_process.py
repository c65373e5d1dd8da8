"""The matcher's process: loads its model once, then answers JSON lines on its input with lines on its output.

First lines out: `{"ready": true}` once it can answer; before that `{"ready": false, "message", "hint"}` where the model
is not there yet, and once more when it cannot be loaded. Then, for `{"id", "text"}`, either `{"id", "match"}` or
`{"id", "message", "hint"}`. It ends when its input ends, so it never outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any, BinaryIO

from wfgy_triage.complaints import check_complaint
from wfgy_triage.demo import reader_ready
from wfgy_triage.errors import TriageError
from wfgy_triage.matching import SymptomMatcher, load_matcher, not_there
from wfgy_triage.settings import Settings, load_settings

LOOK_AGAIN_S = 1.0


def main() -> int:
    """Answer until the input ends. Returns the exit code, 0."""
    # Whatever a library prints belongs into the log, not between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        matcher = _load(load_settings(), answers)
    except TriageError as error:
        # Staying alive keeps the supervisor from trying again and again what cannot work.
        _say(answers, {"ready": False, "message": error.message, "hint": error.hint})
        sys.stdin.buffer.read()
        return 0
    if matcher is None:
        return 0
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            match = next(matcher.match([check_complaint(request["text"])]))
            _say(answers, {"id": request["id"], "match": match.to_json()})
        except TriageError as error:
            _say(answers, {"id": request["id"], "message": error.message, "hint": error.hint})
    return 0


def _load(settings: Settings, answers: BinaryIO) -> SymptomMatcher | None:
    """Load the matcher; where its model is still to come (the demo is being prepared), as soon as it is there.

    Returns None where the input ends before that.

    Raises:
        PrerequisiteError: it cannot be loaded.
    """
    told = False
    while not reader_ready(settings):
        if not told:
            error = not_there()
            _say(answers, {"ready": False, "message": error.message, "hint": error.hint})
            told = True
        # Nobody asks before it is ready, so whatever is readable is the end.
        if select.select([sys.stdin], [], [], LOOK_AGAIN_S)[0]:
            return None
    return load_matcher(settings)


def _say(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
