"""docs/examples/minimal_setup.py calls nothing that exllamav2 does not have, as the page's own lines do."""

import ast
import importlib.util
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.remedies.library_sources import class_of, exported, fields, tree

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "minimal_setup.py"
SOURCES = {
    "ExLlamaV2Config": "config.py",
    "ExLlamaV2": "model.py",
    "ExLlamaV2Cache": "cache.py",
    "ExLlamaV2Tokenizer": "tokenizer/tokenizer.py",
    "ExLlamaV2DynamicGenerator": "generator/dynamic.py",
    "ExLlamaV2Sampler.Settings": "generator/sampler.py",
}
PAGE = """
model = ExLlamaV2(model_path, quant="4bit", gpu_split="auto")
model.generate(tokens, max_new_tokens=128, cache=cache)
"""


def unknown_calls(source: str) -> set[str]:
    """What is asked of the library's classes and of objects made of them that it does not have: names, keywords."""
    parsed, made, wrong = ast.parse(source), {}, set()
    for node in ast.walk(parsed):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func)
            if name in SOURCES:
                made[ast.unparse(node.targets[0])] = name
    for node in ast.walk(parsed):
        kind = made.get(ast.unparse(node.value)) if isinstance(node, ast.Attribute) else None
        if kind and node.attr not in fields(class_of(SOURCES[kind], kind)):
            wrong.add(f"{kind}.{node.attr}")
        if not isinstance(node, ast.Call):
            continue
        owner, _, method = ast.unparse(node.func).rpartition(".")
        owner = made.get(owner, owner)
        kind, method = (owner, method) if owner in SOURCES else (method, "__init__")
        if kind not in SOURCES:
            continue
        body = class_of(SOURCES[kind], *kind.split(".")).body
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


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("config = ExLlamaV2Config(folder); config.no_spda = True", "ExLlamaV2Config.no_spda"),
        ("ExLlamaV2Sampler.Settings.likeliest()", "ExLlamaV2Sampler.Settings.likeliest"),
    ],
)
def test_a_misspelt_setting_and_an_unknown_sampler_are_seen(line, wrong):
    assert unknown_calls(line) == {wrong}


@pytest.mark.parametrize(("context", "cached"), [(1000, 1024), (2048, 2048), (131_072, 4096)])
def test_the_cache_is_of_whole_pages(monkeypatch: pytest.MonkeyPatch, context, cached):
    """The generator refuses any other length; contexts need not be whole pages."""
    sizes = {
        a.value.value
        for a in tree("generator/dynamic.py").body
        if ast.unparse(a).startswith("PAGED_PAGE_SIZE =")
    }
    library, generator = MagicMock(), MagicMock()
    library.ExLlamaV2Config.return_value.max_seq_len = context
    monkeypatch.setitem(sys.modules, "exllamav2", library)
    monkeypatch.setitem(sys.modules, "exllamav2.generator", generator)
    monkeypatch.setitem(sys.modules, "transformers", MagicMock())
    spec = importlib.util.spec_from_file_location("minimal_setup", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main("folder")
    (made,) = library.ExLlamaV2Cache.call_args_list
    assert made.kwargs["max_seq_len"] == cached
    assert {cached % size for size in sizes} == {0}
