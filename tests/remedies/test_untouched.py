"""Property: in files of any shape the change is made, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.user_files import changed

names = st.sampled_from(["host", "port", "mö", "a-b", "'q'", '"d e"', "network", "loras", "12"])
scalars = st.sampled_from(
    [
        "", "1", "'it''s'", '"x # y"', "yes", "0x1F", "1_000", "1e5", "~", "plain words", "[a,  b]", "{a: 1,b:  2}",
        "2020-01-01", "!tag v", "|\n{i}  block\n{i}  lines", ">-\n{i}  folded\n\n{i}  text", "-1",
    ]
)  # fmt: skip
levels = st.sampled_from(["FP16", "'Q4'", '"Q6"', "", "null"])
comments = st.sampled_from(["", "  # why", " #", "   "])
gaps = st.sampled_from(["", "\n", "# a remark\n", "\n  # indented remark\n\n"])


@st.composite
def servers(draw: st.DrawFn) -> str:
    """A `config.yml` with sections in any order, odd spacing, comments, blocks, and perhaps the section `model`."""
    step = draw(st.integers(1, 5))
    parts = [draw(gaps)]
    sections = draw(st.lists(names, max_size=3, unique=True))
    if draw(st.booleans()):
        sections.insert(draw(st.integers(0, len(sections))), "model")
    for section in sections:
        parts.append(f"{section}:{draw(comments)}\n")
        keys = draw(st.lists(names, max_size=3, unique=True))
        if section == "model" and draw(st.booleans()):
            keys.insert(draw(st.integers(0, len(keys))), "cache_mode")
        for key in keys:
            margin = " " * step
            value = draw(levels if key == "cache_mode" else scalars)
            several = "\n" in value
            value = value.replace("{i}", margin) if several else value + draw(comments)
            space = draw(st.sampled_from([" ", "   "]))
            parts += [draw(gaps), f"{margin}{key}:{space}{value}\n"]
    text = "".join(parts)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if draw(st.booleans()) else text


def surroundings(old: str, new: str) -> tuple[str, str]:
    """What was taken out and what was put in, between what the texts share at both ends."""
    head = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    rest = min(len(old), len(new)) - head
    tail = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    return old[head : len(old) - tail], new[head : len(new) - tail]


class Loader(yaml.SafeLoader):
    """Reads what users write, private tags included."""


Loader.add_multi_constructor("!", lambda loader, tag, node: (tag, node.value))


@settings(max_examples=300, deadline=None)
@given(text=servers())
def test_yaml(text: str):
    before = yaml.load(text, Loader) or {}  # noqa: S506 - a loader of plain values
    new = changed(Patch({"model.cache_mode": "Q8"}), "tabbyapi", text)
    out, put = surroundings(text, new)
    assert len(out) <= len('"FP16"')
    assert len(put) <= len("\r\nmodel:\r\n     cache_mode: Q8\r\n")
    expected = {**before, "model": {**(before.get("model") or {}), "cache_mode": "Q8"}}
    assert yaml.load(new, Loader) == expected  # noqa: S506
    assert changed(Patch({"model.cache_mode": "Q8"}), "tabbyapi", new) == new


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
paths = st.lists(st.sampled_from(["a", "b", "rope_theta"]), min_size=1, max_size=3).map(tuple)


@settings(max_examples=300, deadline=None)
@given(
    data=st.dictionaries(st.sampled_from(["a", "b", "rope_theta", "é"]), values, max_size=4),
    path=paths,
    value=st.none() | st.integers(0, 9) | st.just({"x": [1, "ü"]}),
    indent=st.sampled_from([None, 0, 1, 4, "\t"]),
    ascii_only=st.booleans(),
    colon=st.sampled_from([":", ": ", " : "]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_json(data: dict, path: tuple, value: Any, indent: Any, ascii_only: bool, colon: str, newline: str):
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only, separators=(",", colon)).replace(
        "\n", newline
    )
    assume(_encodable(text))
    new = changed(Patch({f"config.{'.'.join(path)}": value}), "config_json", text)
    wanted = _set(json.loads(text), path, value)
    assert json.dumps(json.loads(new)) == json.dumps(wanted)
    out, put = surroundings(text, new)
    if newline in text:
        assert put.replace("\r\n", "").count("\n") == (0 if newline == "\r\n" else put.count("\n"))
    if value is None:
        assert put.strip() == ""
    for key in data:
        if key != path[0]:
            kept = json.dumps(
                {key: data[key]}, indent=indent, ensure_ascii=ascii_only, separators=(",", colon)
            )
            assert kept.replace("\n", newline).strip("{}\t \r\n") in new


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _set(data: dict, path: tuple, value: Any) -> dict:
    """An independent, recursive statement of what setting a value means."""
    name, *rest = path
    inner = data.get(name)
    if not rest:
        return {**data, name: value} if value is not None else {k: v for k, v in data.items() if k != name}
    if value is None and not isinstance(inner, dict):
        return data
    return {**data, name: _set(inner if isinstance(inner, dict) else {}, tuple(rest), value)}


lines = st.sampled_from(
    [
        "", "# remark", "numpy", "numpy>=1 # why", "-r more.txt", "--pre", "./local.whl",
        "x[extra] ~= 1.0 ; python_version > '3'", "torch", "torch==1", "Torch [x]>=1 # pinned",
        "torch @ https://h/t.whl ; os_name == 'nt'", "pkg==1 \\", "torchvision==2",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(lines, max_size=6), newline=st.sampled_from(["\n", "\r\n"]))
def test_requirements(parts: list[str], newline: str):
    text = newline.join(parts)
    try:
        new = changed(Patch({"pins.torch": "==2.9.0"}), "requirements", text)
    except InputError as error:
        assert "given twice" in error.message  # noqa: PT017 - the only fault these lines can have
        return
    before, after = text.splitlines(), new.splitlines()
    continued = {i + 1 for i, line in enumerate(before) if line.endswith("\\")}
    named = {i for i, line in enumerate(before) if line.lower().startswith("torch") and "vision" not in line}
    ours = named - continued
    for i, line in enumerate(before):
        if i not in ours:
            assert after[i] == line
    pinned = [line for line in after if line.lower().startswith("torch") and "==2.9.0" in line]
    assert len(pinned) == max(1, len(ours))
