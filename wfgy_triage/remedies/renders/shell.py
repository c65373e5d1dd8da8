"""Shell commands: quantizing again, copying files, and variables that the library reads."""

from __future__ import annotations

import shlex
from typing import Any

from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Share
from wfgy_triage.remedies.renders.header import header

_CONVERT_RANGE = (2.0, 8.0)
"""Bits per weight that the library's converter can reach; outside it only warns."""


def commands(share: Share, facts: Facts) -> str | None:
    """The commands, or None where a bit rate is missing that nobody knows."""
    named = share.named()
    parts: list[str] = []
    if "EXLLAMA_NO_SDPA" in named:
        parts.append(_environment(bool(named["EXLLAMA_NO_SDPA"])))
    if "copy" in named:
        parts.append(_copies(named["copy"], facts))
    if {"bpw", "head_bits", "protect"} & set(named):
        made = _quantize(named, facts)
        if made is None and not parts:
            return None
        parts.append(
            made or "# The bits per weight of the present model are not known: give quantize.bpw, too.\n"
        )
    return header(share) + "\n" + "\n".join(parts)


def _environment(off: bool) -> str:
    note = "# Before the server or script starts, in the same shell.\n"
    return note + ("export EXLLAMA_NO_SDPA=1\n" if off else "unset EXLLAMA_NO_SDPA\n")


def _copies(names: Any, facts: Facts) -> str:
    lines = (_command("cp", "--", f"{facts.fp16}/{name}", f"{facts.exl2}/{name}") for name in names)
    return "".join(lines)


def _quantize(named: dict[str, Any], facts: Facts) -> str | None:
    """Quantizing again. What is not part of the patch stays as it was made."""
    bits, head = named.get("bpw", facts.bpw), named.get("head_bits", facts.head_bits)
    if bits is None:
        return None
    out = f"{facts.exl2.rstrip('/')}-{bits:g}bpw" + (f"-h{head}" if "head_bits" in named else "")
    protect = named.get("protect", {})
    if protect:
        out += "-protected"
    source, target = _folder(facts.fp16), _folder(out)
    own = ["python", "-m", "wfgy_triage", "quantize", source, target, "--bpw", f"{bits:g}"]
    own += ["--head-bits", str(head)] if head is not None else []
    for part, rate in protect.items():
        own += ["--protect", f"{part}={rate:g}"]
    if protect:
        why = "# convert.py cannot give single parts more bits. This runs on the CPU.\n"
        return why + _command(*own)
    if not _CONVERT_RANGE[0] <= bits <= _CONVERT_RANGE[1]:
        return "# convert.py does not reach this bit rate. This runs on the CPU.\n" + _command(*own)
    work = _folder(f"{out}-work")
    convert = ["python", "convert.py", "-i", source, "-o", work, "-cf", target, "-b", f"{bits:g}"]
    convert += ["-hb", str(head)] if head is not None else []
    return (
        "# On a GPU, in the folder of exllamav2's source. The -o folder is for work in progress and can be deleted.\n"
        + _command("mkdir", "-p", work, target)
        + _command(*convert)
        + _alternative(own)
    )


def _alternative(own: list[str]) -> str:
    """Our own command as a comment; a folder name with a line end in it would leave the comment."""
    line = shlex.join(own)
    return f"# Without a GPU, instead:\n# {line}\n" if line.isprintable() else ""


def _folder(name: str) -> str:
    """A folder that cannot be taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def _command(*words: str) -> str:
    return shlex.join(words) + "\n"
