"""docs/examples/minimal_setup.py calls nothing that exllamav2 does not have, as the page's own lines do."""

import ast
from pathlib import Path

import pytest

from tests.remedies.library_sources import class_of, exported

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "minimal_setup.py"
SOURCES = {
    "ExLlamaV2Config": "config.py",
    "ExLlamaV2": "model.py",
    "ExLlamaV2Cache": "cache.py",
    "ExLlamaV2Tokenizer": "tokenizer/tokenizer.py",
    "ExLlamaV2DynamicGenerator": "generator/dynamic.py",
}
PAGE = """
model = ExLlamaV2(model_path, quant="4bit", gpu_split="auto")
model.generate(tokens, max_new_tokens=128, cache=cache)
"""


def unknown_calls(source: str) -> set[str]:
    """Calls of the library's classes, and of objects made of them, with a name or a keyword that it does not have."""
    tree, made, wrong = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func)
            if name in SOURCES:
                made[ast.unparse(node.targets[0])] = name
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, _, method = ast.unparse(node.func).rpartition(".")
        kind, method = (made[owner], method) if owner in made else (method, "__init__")
        if kind not in SOURCES:
            continue
        body = class_of(SOURCES[kind], kind).body
        found = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == method), None)
        if found is None:
            wrong.add(f"{kind}.{method}")
            continue
        known = {a.arg for a in (*found.args.args, *found.args.kwonlyargs)}
        wrong |= {f"{kind}.{method}({k.arg}=)" for k in node.keywords if k.arg not in known}
    return wrong


def test_every_call_is_one_that_the_library_has():
    source = EXAMPLE.read_text(encoding="utf-8")
    assert unknown_calls(source) == set()
    imports = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    for node in imports:
        if node.module and node.module.startswith("exllamav2"):
            assert {a.name for a in node.names} <= exported(node.module)


@pytest.mark.parametrize(
    "wrong", ["ExLlamaV2.__init__(quant=)", "ExLlamaV2.__init__(gpu_split=)", "ExLlamaV2.generate"]
)
def test_the_pages_own_lines_are_seen_to_be_wrong(wrong):
    assert wrong in unknown_calls(PAGE)
