"""What exllamav2 really defines, read from the sources of the installed wheel (importing it needs a GPU)."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def tree(relative: str) -> ast.Module:
    spec = find_spec("exllamav2")
    assert spec is not None
    assert spec.origin is not None
    return ast.parse((Path(spec.origin).parent / relative).read_text("utf-8"))


def exported(package: str) -> set[str]:
    """Names that `from exllamav2[.generator] import …` finds."""
    path = "/".join([*package.split(".")[1:], "__init__.py"])
    imports = [n for n in tree(path).body if isinstance(n, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def class_of(relative: str, *names: str) -> ast.ClassDef:
    node: ast.Module | ast.ClassDef = tree(relative)
    for name in names:
        node = next(n for n in node.body if isinstance(n, ast.ClassDef) and n.name == name)
    assert isinstance(node, ast.ClassDef)
    return node


def parameters(cls: ast.ClassDef, method: str) -> set[str]:
    """Named parameters of a method. `**kwargs` does not count: the library swallows misspelt names there."""
    found = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == method)
    return {a.arg for a in [*found.args.args, *found.args.kwonlyargs]} - {"self"}


def fields(cls: ast.ClassDef) -> set[str]:
    """Annotated fields, methods, and attributes that methods set on self."""
    names = {n.target.id for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    names |= {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
    return names | {
        n.attr
        for n in ast.walk(cls)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
    }
