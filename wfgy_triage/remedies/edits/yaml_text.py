"""Setting a value in somebody's YAML: the value's own characters change and no others.

A round trip through a parser and an emitter would reformat the file (quotes, spacing, line ends, odd comments). So the
parser is only asked where the value stands, and the text is cut there. Afterwards the parser's events before and after
are compared: whatever else would have changed its meaning is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.edits.edit import Edit, fault, line_of, newline_of, wrapped
from wfgy_triage.remedies.edits.yaml_dump import flow

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = "tag:yaml.org,2002:str"
_DEEPEST = 100
"""Levels of nesting that are read. libyaml builds its tree by recursion and would crash the process far below."""
_FRAME = 4
"""Events around a document: stream and document, start and end."""


@dataclass(frozen=True)
class _Cut:
    """`text[start:end]` becomes `new`; `events` is how many events may vanish with it."""

    start: int
    end: int
    new: str
    events: int = 0

    def of(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]


def edit_yaml(text: str, edits: Sequence[Edit]) -> str:
    """The text with every edit made, one after the other.

    Args:
        text: one YAML document whose root is a mapping (or nothing); without a byte order mark.
        edits: the values to set.

    Raises:
        InputError: not YAML, a root that is no mapping, a key given twice, or a value that cannot be changed without
            touching something else (an alias, a block); names the line.
    """
    for edit in edits:
        text = _edited(text, edit)
    return text


def _edited(text: str, edit: Edit) -> str:
    root = _compose(text)
    cuts = list(_cuts(text, root, edit))
    if not cuts:
        return text
    for cut in cuts:
        new = cut.of(text)
        if _only_change(text, new, cut, edit):
            return new
    raise fault(
        line_of(text, cuts[0].start),
        f"{'.'.join(edit.path)} cannot be set here without changing something else.",
        f"Set it by hand: {_by_hand(edit)}",
    )


def _cuts(text: str, root: yaml.MappingNode | None, edit: Edit) -> Iterator[_Cut]:
    """The ways to make an edit, best first; none where the file already says so."""
    if root is None:
        if not edit.at_least:
            yield _append(text, _lines(edit.path, edit.value, 0, 2, newline_of(text)))
        return
    node, above, shared = root, None, _shared(root)
    for depth, name in enumerate(edit.path):
        key, value = _member(node, name)
        rest = edit.path[depth + 1 :]
        if key is None or value is None:
            if not edit.at_least:
                yield from _insertions(text, root, node, above, Edit(edit.path[depth:], edit.value))
            return
        if id(value) in shared:
            where = line_of(text, key.start_mark.index)
            hint = f"Write it out in both places, and here with {_by_hand(edit)}"
            raise fault(where, f"{name} shares its value with another place (anchor and alias).", hint)
        if not rest:
            yield from _replacement(text, value, edit)
            return
        if not isinstance(value, yaml.MappingNode):
            if not edit.at_least:
                yield _section(text, root, key, value, Edit(rest, edit.value))
            return
        node, above = value, key


def _replacement(text: str, node: yaml.Node, edit: Edit) -> Iterator[_Cut]:
    start, end = node.start_mark.index, node.end_mark.index
    old = text[start:end]
    if isinstance(node, yaml.ScalarNode):
        now = _plain(node)
        if type(now) is type(edit.value) and now == edit.value:
            return
        if edit.at_least and not (isinstance(now, int) and now < edit.value):
            return
        if node.style not in ("|", ">"):
            yield _Cut(start, end, _spaced(text, start, flow(edit.value)), events=1)
            return
    elif old[:1] in ("{", "["):
        if _plain(node) != edit.value:
            yield _Cut(start, end, flow(edit.value), events=len(_events(old)) - _FRAME)
        return
    raise fault(
        line_of(text, start),
        f"{'.'.join(edit.path)} is written over several lines, which are left as they are.",
        f"Replace them by hand: {_by_hand(edit)}",
    )


def _insertions(
    text: str, root: yaml.MappingNode, node: yaml.MappingNode, above: yaml.Node | None, edit: Edit
) -> Iterator[_Cut]:
    """Places for a key that a mapping does not have. `above`: the key of the mapping, None at the root."""
    if text[node.start_mark.index : node.start_mark.index + 1] == "{":
        spot = node.start_mark.index + 1
        inner = flow(wrapped(edit.path, edit.value))[1:-1]
        yield _Cut(spot, spot, f"{inner}, " if node.value else inner)
        return
    first = node.value[0][0].start_mark
    lines = _lines(edit.path, edit.value, first.column, _step(root), newline_of(text))
    if above is None:
        yield _append(text, lines)
    else:
        spot = text.find("\n", above.end_mark.index) + 1
        yield _Cut(spot, spot, lines)
    spot = first.index - first.column
    yield _Cut(spot, spot, lines)


def _section(text: str, root: yaml.MappingNode, key: yaml.Node, value: yaml.Node, edit: Edit) -> _Cut:
    """A section that is there by name only gets its first setting."""
    start, end = value.start_mark.index, value.end_mark.index
    if not isinstance(value, yaml.ScalarNode) or _plain(value) is not None:
        raise fault(line_of(text, start), f"{key.value} holds something else than settings.")
    if start < end:  # a written null
        return _Cut(start, end, flow(wrapped(edit.path, edit.value)), events=1)
    newline, step = newline_of(text), _step(root)
    lines = _lines(edit.path, edit.value, key.start_mark.column + step, step, newline)
    spot = text.find("\n", key.end_mark.index) + 1
    if spot:
        return _Cut(spot, spot, lines, events=1)
    return _Cut(len(text), len(text), newline + lines.removesuffix(newline), events=1)


def _append(text: str, lines: str) -> _Cut:
    gap = "" if not text or text.endswith("\n") else newline_of(text)
    return _Cut(len(text), len(text), gap + lines)


def _lines(path: Sequence[str], value: Any, column: int, step: int, newline: str) -> str:
    """The lines of a key, of the keys under it, and of the value, from `column` on."""
    heads = [f"{' ' * (column + step * depth)}{flow(name)}:" for depth, name in enumerate(path)]
    return f"{newline.join(heads)} {flow(value)}{newline}"


def _spaced(text: str, start: int, new: str) -> str:
    return f" {new}" if start and text[start - 1] == ":" else new


def _step(root: yaml.MappingNode) -> int:
    """How far the file indents."""
    for _, value in root.value:
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.start_mark.column:
            return int(value.start_mark.column)
    return 2


def _by_hand(edit: Edit) -> str:
    return flow(wrapped(edit.path, edit.value))[1:-1]


def _member(node: yaml.MappingNode, name: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    pairs = ((k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode) and k.tag == _STRING)
    return next(((k, v) for k, v in pairs if k.value == name), (None, None))


def _shared(root: yaml.Node) -> set[int]:
    """Ids of the nodes that stand in more than one place: a change there would be made everywhere."""
    todo, met, shared = [root], {id(root)}, set()
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.ScalarNode):
            continue
        inner = (
            node.value if isinstance(node, yaml.SequenceNode) else [n for pair in node.value for n in pair]
        )
        for child in inner:
            if id(child) in met:
                shared.add(id(child))
            else:
                met.add(id(child))
                todo.append(child)
    return shared


def _plain(node: yaml.Node) -> Any:
    """The value of a node, or the node itself where it has none of plain kinds."""
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError):
        return node


def _compose(text: str) -> yaml.MappingNode | None:
    hint = "The file has to be valid YAML; the parts before that line may be at fault, too."
    try:
        _refuse_depth(text, hint)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fault(mark.line + 1 if mark else 1, f"not valid YAML ({error.problem}).", hint) from error
    except yaml.reader.ReaderError as error:
        line = line_of(text, min(error.position, len(text)))
        raise fault(line, "not valid YAML (a control character).", hint) from error
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == "" and not root.style):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise fault(root.start_mark.line + 1, "the file is not a list of settings (key: value).", hint)
    _refuse_duplicates(root)
    return root


def _refuse_depth(text: str, hint: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise fault(line, f"nested more than {_DEEPEST} levels deep.", hint)


def _refuse_duplicates(root: yaml.Node) -> None:
    todo, done = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in done or isinstance(node, yaml.ScalarNode):
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
            continue
        seen = set()
        for key, value in node.value:
            todo += [key, value]
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    message = f"the key {key.value!r} is given twice."
                    raise fault(key.start_mark.line + 1, message, "Keep one of them.")
                seen.add((key.tag, key.value))


def _events(text: str) -> list[tuple[Any, ...]]:
    """What the parser reads, without where it stands and how it is written."""
    names = ("anchor", "tag", "implicit", "value")
    return [
        (type(event), *(getattr(event, name, None) for name in names))
        for event in yaml.parse(text, Loader=_Loader)
    ]


def _only_change(old_text: str, new_text: str, cut: _Cut, edit: Edit) -> bool:
    """Whether the new text has the value, and reads like the old one everywhere else."""
    try:
        old, new = _events(old_text), _events(new_text)
        root = _compose(new_text)
    except (yaml.YAMLError, InputError):
        return False
    limit = min(len(old), len(new))
    head = next((i for i in range(limit) if old[i] != new[i]), limit)
    limit -= head
    tail = next((i for i in range(limit) if old[-1 - i] != new[-1 - i]), limit)
    gone = old[head : len(old) - tail]
    if len(gone) > cut.events or any(anchor is not None for _, anchor, *_ in gone):
        return False
    node: Any = root
    for name in edit.path:
        node = _member(node, name)[1] if isinstance(node, yaml.MappingNode) else None
    return node is not None and bool(_plain(node) == edit.value)
