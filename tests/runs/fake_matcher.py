"""Speaks the matcher's protocol without a model: a few words decide. Arguments: `slow` never gets ready, `broken`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(how: str) -> None:
    if how == "slow":
        time.sleep(600)
    if how == "broken":
        say(ready=False, message="the package is missing.", hint="Install it.")
        sys.stdin.read()
        return
    say(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        text = request["text"]
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        best = "json_breaks" if "JSON" in text else "long_chain" if "loop" in text else "none"
        if best == "none":
            second = 0.15 if "near" in text else 0.01
            scores = {"none": 1 - second, "deploy_mismatch": second}
        else:
            scores = {best: 0.8, "deploy_mismatch": 0.15, "none": 0.05}
        say(id=request["id"], match={"symptom": best, "scores": scores})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
