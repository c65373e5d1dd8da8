"""Which words the pages say, and which of them a language lacks.

`python tools/texts.py` names what is said and not translated, and what is translated and no longer said.
`python tools/texts.py --todo FOLDER` writes the first kind as YAML, by part of the program, to be filled in.

Words are found where they are written: in the fix map's data, and in the string literals of the modules whose words
reach a page. What is put into a sentence is a numbered slot: "{0} of {1} answers".
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[1]
PROGRAM, FIX_MAP, TEXTS = REPO / "wfgy_triage", REPO / "fixmap", REPO / "assets" / "texts"
SPOKEN_TOO = ("report/export/formats.py", "report/export/html.py")
TERMINAL_ONLY = (
    "__init__.py", "__main__.py", "cli", "demo.py", "demo_folder.py", "engine_settings.py", "hosting.py", "languages",
    "listening.py", "logs.py", "packaged.py", "passwords.py", "report/export", "report/junit.py", "report/terminal.py",
    "server_settings.py", "settings.py", "store/migrations", "users.py",
)  # fmt: skip
"""Parts of the program whose words are said in a terminal, a log or a file alone."""
NOT_WORDS = frozenset({"examples", "unrelated", "pattern", "patterns", "id", "url", "icon", "page"})
"""Keys of the fix map whose values are no words of a page."""
SPOKEN_ATTRIBUTES = frozenset({"aria-label", "title", "placeholder", "alt", "data-l"})
_WORDS = re.compile(r"[A-Za-z]{2,}\S* +\S|\S +\S*[A-Za-z]{2,}|^[A-Z][a-z]+[.:]?$")
_CODE = re.compile(
    r"=>|\dpx|\bconst |%s|^[a-z]+-[a-z-]+:|[a-z]+=\"|^\W*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA) "
)
"""Scripts, log lines, SQL, headers: no page says them."""
_SLOT = "\x00"
_TAGS = (
    r"(?:a|abbr|b|body|br|button|caption|code|d[dlt]|details|div|em|extra|fieldset|footer|form|h[1-6]|head|header|html|i|input|"
    r"label|legend|li|link|main|mark|meta|nav|ol|option|p|path|pre|section|select|small|span|strong|style|sub|"
    r"summary|sup|svg|t[abdhr]|table|tbody|thead|title|ul|!doctype)"
)
_TAG = re.compile(rf"</?{_TAGS}\b")


def main() -> int:
    """Report, or write what is to be translated; 1 where something is missing or left over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", default="zh", help="a folder of assets/texts")
    parser.add_argument("--todo", type=Path, help="write what is missing here")
    arguments = parser.parse_args()
    said, known = all_said(), translated(arguments.language)
    missing = {text: place for text, place in said.items() if text not in known}
    left = sorted(known.keys() - said.keys())
    if arguments.todo:
        write_todo(missing, arguments.todo)
    for text, place in missing.items():
        print(f"missing  {place}: {text}")
    for text in left:
        print(f"not said any more  {text}")
    print(f"{len(said)} texts, {len(missing)} missing, {len(left)} not said any more", file=sys.stderr)
    return 1 if missing or left else 0


def translated(language: str) -> Mapping[str, str | None]:
    """Return all translations of a language; None where a text stays as it is."""
    found: dict[str, str | None] = {}
    for path in sorted((TEXTS / language).glob("*.yaml")):
        if path.name != EXTRA:
            found |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found


EXTRA = "short.yaml"
"""Single words and what libraries say: not found in the source by a rule, so not asked of it."""


def all_said() -> Mapping[str, str]:
    """Return every text, and the place where it is written first."""
    found: dict[str, str] = {}
    for path in sorted(FIX_MAP.glob("*.yaml")):
        for text in _of_data(yaml.safe_load(path.read_text(encoding="utf-8"))):
            for part in parts(text):
                found.setdefault(part, f"fixmap/{path.name}")
    for path in sorted(PROGRAM.rglob("*.py")):
        place = path.relative_to(PROGRAM).as_posix()
        if place.startswith(SPOKEN_TOO) or not place.startswith(TERMINAL_ONLY):
            for text in _of_module(ast.parse(path.read_text(encoding="utf-8"))):
                for part in parts(text):
                    found.setdefault(part, f"wfgy_triage/{place}")
    return found


def _of_data(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield re.sub(r"\{[^{}]*\}", _SLOT, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in NOT_WORDS:
                yield from _of_data(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _of_data(inner)


def _of_module(tree: ast.Module) -> Iterator[str]:
    """All literals but docstrings; an f-string is one text with slots."""
    skip = {
        id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("_log.", "re.compile")):
            skip |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            skip |= {id(inner) for inner in node.values}
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else _SLOT for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{[a-z_][^{}]*\}", _SLOT, node.value)


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in {"script", "style"}
        self.texts += [value for name, value in attrs if name in SPOKEN_ATTRIBUTES and value]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)


def parts(text: str) -> Iterator[str]:
    """Cut markup away; number the slots of each piece that has words."""
    pieces = [text]
    if _TAG.search(text):
        markup = _Markup()
        markup.feed(re.sub(rf"<(?!/?{_TAGS}\b)", "&lt;", text))
        markup.close()
        pieces = markup.texts
    for piece in pieces:
        bare = " ".join(piece.split())
        if _WORDS.search(bare) and re.search("[A-Za-z]{2}", bare) and not _CODE.search(bare):
            count = iter(range(100))
            yield re.sub(_SLOT, lambda _: f"{{{next(count)}}}", bare)  # noqa: B023


def write_todo(missing: Mapping[str, str], folder: Path) -> None:
    """Write what is missing, one file a part of the program."""
    folder.mkdir(parents=True, exist_ok=True)
    by_part: dict[str, dict[str, str]] = {}
    for text, place in missing.items():
        names = place.split("/")
        part = names[1].removesuffix(".py").removesuffix(".yaml")
        by_part.setdefault(f"{names[0]}-{part}", {})[text] = ""
    for part, texts in by_part.items():
        path = folder / f"{part}.yaml"
        path.write_text(
            yaml.safe_dump(texts, allow_unicode=True, width=1000, sort_keys=False), encoding="utf-8"
        )


if __name__ == "__main__":
    sys.exit(main())
