"""Values as YAML that versions 1.1 and 1.2 read alike.

The two disagree on plain words and numbers (`no`, `1e5`, `0o17`), so every string that is not an ordinary word is put
into double quotes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _WORD.fullmatch(text) and text.lower() not in _NOT_WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _string)


def block(value: dict[str, Any]) -> str:
    """A mapping over several lines."""
    return _dump(value, flow=False)


def flow(value: Any) -> str:
    """Any value on one line."""
    return _dump(value, flow=True).removesuffix("\n").removesuffix("\n...")


def _dump(value: Any, flow: bool) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=flow, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return text
