"""The stand-in has no name and no parameter that exllamav2 does not have; nor does our use of it."""

from __future__ import annotations

import ast
import inspect

import pytest

from tests.engines import fake_exllamav2 as fake
from tests.remedies.library_sources import class_of, exported, fields, tree
from wfgy_triage.engines.exllamav2_filter import filter_class
from wfgy_triage.engines.exllamav2_generation import FINISH_REASONS
from wfgy_triage.engines.exllamav2_library import CACHES

SOURCES = {
    "ExLlamaV2Config": "config.py",
    "ExLlamaV2": "model.py",
    "ExLlamaV2Cache": "cache.py",
    "ExLlamaV2Cache_Q8": "cache.py",
    "ExLlamaV2Cache_Q6": "cache.py",
    "ExLlamaV2Cache_Q4": "cache.py",
    "ExLlamaV2Tokenizer": "tokenizer/tokenizer.py",
    "ExLlamaV2Filter": "generator/filters/base.py",
    "ExLlamaV2DynamicJob": "generator/dynamic.py",
    "ExLlamaV2DynamicGenerator": "generator/dynamic.py",
}
BASES = {"ExLlamaV2Cache": "ExLlamaV2CacheBase"}
# What stands in the fake for its own sake.
OWN = {"passes", "gpu_split", "ids", "lazy", "inner", "held", "warm", "steps"}


def ordered(cls: ast.ClassDef, method: str) -> list[str]:
    node = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == method)
    return [a.arg for a in [*node.args.args, *node.args.kwonlyargs]]


@pytest.mark.parametrize("name", SOURCES)
def test_parameters_are_the_librarys_in_its_order(name):
    theirs, ours = class_of(SOURCES[name], name), getattr(fake, name)
    for method, function in inspect.getmembers(ours, inspect.isfunction):
        if method.startswith("_") and method != "__init__":
            continue
        there, here = ordered(theirs, method), list(inspect.signature(function).parameters)
        assert [p for p in there if p in here] == here, method
        # Those that are given by position must stand at the same place.
        positional = {"forward": 3, "forward_chunk": 2, "__init__": 2}.get(method, len(here))
        assert there[:positional] == here[:positional], method


@pytest.mark.parametrize("name", SOURCES)
def test_attributes_are_the_librarys(name):
    theirs = fields(class_of(SOURCES[name], name))
    if name in BASES or name.startswith("ExLlamaV2Cache_"):
        theirs |= fields(class_of("cache.py", "ExLlamaV2CacheBase"))
    source = ast.parse(inspect.getsource(getattr(fake, name)))
    used = {
        n.attr
        for n in ast.walk(source)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
    }
    used = {u for u in used if not u.startswith("_")} - OWN
    assert used - theirs - {"prepare_logit_mask", "next"} == set()


def test_names_are_imported_from_where_the_library_has_them():
    assert {"ExLlamaV2", "ExLlamaV2Config", "ExLlamaV2Tokenizer", *CACHES.values()} <= exported("exllamav2")
    generator = {"ExLlamaV2DynamicGenerator", "ExLlamaV2DynamicJob", "ExLlamaV2Sampler"}
    assert generator <= exported("exllamav2.generator")
    assert "ExLlamaV2Filter" in exported("exllamav2.generator.filters")
    assigned = {
        t.id
        for n in ast.walk(tree("attn.py"))
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    assert {"has_flash_attn", "has_flash_attn_with_paged", "has_xformers"} <= assigned


def test_end_reasons_and_keys_of_results_are_the_librarys():
    nodes = list(ast.walk(tree("generator/dynamic.py")))
    reasons = {
        n.value.value
        for n in nodes
        if isinstance(n, ast.keyword) and n.arg == "eos_reason" and isinstance(n.value, ast.Constant)
    }
    assert reasons == set(FINISH_REASONS)
    keys = {k.value for n in nodes if isinstance(n, ast.Dict) for k in n.keys if isinstance(k, ast.Constant)}
    assert {
        "stage",
        "eos",
        "eos_reason",
        "identifier",
        "token_ids",
        "logits",
        "held",
        "full_completion",
    } <= keys


def test_greedy_settings_are_neutral_in_the_library_too():
    settings = class_of("generator/sampler.py", "ExLlamaV2Sampler", "Settings")
    defaults = {
        n.target.id: ast.unparse(n.value)
        for n in settings.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and n.value
    }
    greedy = next(n for n in settings.body if isinstance(n, ast.FunctionDef) and n.name == "greedy")
    changed = next(ast.literal_eval(n) for n in ast.walk(greedy) if isinstance(n, ast.Dict))
    assert changed == {"temperature": 1.0, "token_repetition_penalty": 1.0, "top_p": 0.0, "top_k": 1}
    off = (
        "xtc_probability",
        "dry_multiplier",
        "typical",
        "tfs",
        "top_a",
        "min_p",
        "skew",
        "smoothing_factor",
    )
    off += ("token_frequency_penalty", "token_presence_penalty", "max_temp")
    assert {float(defaults[name]) for name in off} == {0.0}
    assert (defaults["mirostat"], defaults["token_bias"], defaults["cfg_scale"]) == ("False", "None", "None")


def test_our_filter_overrides_the_librarys_methods_with_their_parameters():
    theirs = class_of("generator/filters/base.py", "ExLlamaV2Filter")
    made = filter_class(fake.ExLlamaV2Filter)
    for name, function in vars(made).items():
        if inspect.isfunction(function) and name != "__init__":
            assert list(inspect.signature(function).parameters) == ordered(theirs, name)


def test_the_library_leaves_our_masked_copy_apart_from_the_logits_it_returns():
    # What log-probabilities rest on: the sampler takes what mask_logits gives, the job keeps what it handed in.
    sample = ast.unparse(class_of("generator/sampler.py", "ExLlamaV2Sampler"))
    assert "logits = f.mask_logits(flat_logits).view(1, 1, -1)" in sample
    job = ast.unparse(class_of("generator/dynamic.py", "ExLlamaV2DynamicJob"))
    assert "self.held_logits.append(logits[:1, :, :])" in job
