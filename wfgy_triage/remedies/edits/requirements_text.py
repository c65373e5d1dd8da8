"""Pinning packages in somebody's requirements file: their lines change, a missing one is added at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from wfgy_triage.remedies.edits.edit import fault, newline_of

_COMMENT = re.compile(r"(^|\s+)#.*$")
_NAME = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?")
_PATH = re.compile(r"^[^@;]*(://|\.(whl|zip|tar\.gz)\b)|^[./~]|^[A-Za-z]:[\\/]|^file:")
"""What pip takes instead of a requirement: addresses and paths. They have no name to compare."""


def edit_requirements(text: str, pins: Mapping[str, str]) -> str:
    """The text with every package pinned; extras, markers and comments of its lines stay.

    Args:
        text: a requirements file; without a byte order mark.
        pins: version specifier (`==0.3.2`) or address (`@ https://…`) by package.

    Raises:
        InputError: a line that is no requirement, a package given twice, or one whose line cannot be changed (hashes,
            continued lines); names the line.
    """
    lines = text.split("\n")
    known = _packages(lines)
    added = []
    for package, spec in pins.items():
        numbers = known.get(canonicalize_name(package), [])
        for number in numbers:
            lines[number] = _pinned(lines[number], number, package, spec)
        if not numbers:
            added.append(written(package, spec))
    text = "\n".join(lines)
    if added and text and not text.endswith("\n"):
        text += newline_of(text)
    return text + "".join(line + newline_of(text) for line in added)


def written(package: str, spec: str) -> str:
    """The line of a pin."""
    return f"{package} {spec}" if spec.startswith("@") else f"{package}{spec}"


def _packages(lines: list[str]) -> dict[str, list[int]]:
    """Line numbers, from 0, by package."""
    found: dict[str, list[int]] = {}
    markers: set[tuple[str, str]] = set()
    continued = False
    for number, line in enumerate(lines):
        words = _COMMENT.sub("", line.rstrip("\r")).strip()
        skipped, continued = continued, words.endswith("\\")
        if skipped or not words or words.startswith("-") or _PATH.match(words):
            continue
        requirement = _read(words, number)
        key = (canonicalize_name(requirement.name), str(requirement.marker))
        if key in markers:
            raise fault(
                number + 1, f"the package {requirement.name} is given twice.", "Keep one of the lines."
            )
        markers.add(key)
        found.setdefault(key[0], []).append(number)
    return found


def _read(words: str, number: int) -> Requirement:
    bare = re.split(r"\s+--", words.rstrip("\\"))[0]
    try:
        return Requirement(bare)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise fault(number + 1, f"not a requirement ({reason}).") from error


def _pinned(line: str, number: int, package: str, spec: str) -> str:
    """A line with another specifier."""
    ending = "\r" if line.endswith("\r") else ""
    line = line.removesuffix("\r")
    comment = _COMMENT.search(line)
    words, tail = (line[: comment.start()], line[comment.start() :]) if comment else (line, "")
    if words.rstrip().endswith("\\") or re.search(r"\s--", words):
        raise fault(
            number + 1,
            f"{package} is pinned with options or over several lines, which belong to the old version.",
            f"Pin it by hand ({written(package, spec)}) and make the hashes anew.",
        )
    name = _NAME.match(words)
    head = name.group(0).rstrip() if name else package
    if _specifier(words[len(head) :]) == _specifier(spec):
        return line + ending
    gap, body = " " if spec.startswith("@") else "", words[len(head) :]
    marked = Requirement(words.strip()).marker is not None
    cut = body.rindex(";") if marked else len(body)
    space = body[len(body[:cut].rstrip()) : cut] or (gap if marked else "")
    return f"{head}{gap}{spec}{space}{body[cut:]}{tail}{ending}"


def _specifier(text: str) -> str:
    """A specifier without white space and markers, to compare."""
    return re.sub(r"\s+", "", text.partition(";")[0])
