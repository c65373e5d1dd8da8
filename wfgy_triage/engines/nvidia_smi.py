"""What the driver's own tool says of the GPUs, without setting any of them up. Standard library only."""

from __future__ import annotations

import shutil
import subprocess

_SECONDS = 10


def ask_smi(*fields: str) -> list[list[str]]:
    """The values of some fields, a row for each GPU of the machine; nothing without a driver, or where it fails.

    Args:
        fields: as `nvidia-smi --help-query-gpu` names them; sizes are given in MiB.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        outcome = subprocess.run(  # noqa: S603 - a fixed command
            query, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if outcome.returncode != 0:
        return []
    return [[value.strip() for value in line.split(",")] for line in outcome.stdout.strip().splitlines()]
