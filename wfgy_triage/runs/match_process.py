"""The matcher's process: loads its model once, then answers JSON lines on its input with lines on its output.

First lines out: `{"ready": true}` once it can answer; before that `{"ready": false, "message", "hint"}` where the model
is not there yet or cannot be loaded; it is tried again when its files have changed. Then, for `{"id", "text"}`, either
`{"id", "match"}` or `{"id", "message", "hint"}`. It ends when its input ends, so it never outlives the process that
started it.
"""

from __future__ import annotations

import json
import os
import select
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from wfgy_triage.complaints import check_complaint
from wfgy_triage.demo import reader_folder
from wfgy_triage.errors import TriageError
from wfgy_triage.matching import TRAINED, SymptomMatcher, load_matcher
from wfgy_triage.settings import Settings, load_settings

LOOK_AGAIN_S = 1.0


def main() -> int:
    """Answer until the input ends. Returns the exit code, 0."""
    # Whatever a library prints belongs into the log, not between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    matcher = _load(load_settings(), answers)
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
    """Load the matcher, as soon as its model is there (the demo may be being prepared) and can be read.

    Returns None where the input ends before that. Staying alive meanwhile keeps the supervisor from trying again and
    again what cannot work.
    """
    tried: tuple[int, ...] | None = None
    while True:
        files = _files(settings)
        if files != tried:
            tried = files
            try:
                return load_matcher(settings)
            except TriageError as error:
                _say(answers, {"ready": False, "message": error.message, "hint": error.hint})
        # Nobody asks before it is ready, so whatever is readable is the end.
        if select.select([sys.stdin], [], [], LOOK_AGAIN_S)[0]:
            return None


def _files(settings: Settings) -> tuple[int, ...]:
    """Which files there are to load: others after one was put there, or replaced."""
    found = []
    folder = reader_folder(settings)
    for path in (
        *(folder / name for name in ("config.json", "tokenizer.json", "model.safetensors")),
        TRAINED,
    ):
        with suppress(OSError):
            seen = path.stat()
            found += [seen.st_ino, seen.st_size, seen.st_mtime_ns]
    return tuple(found)


def _say(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
