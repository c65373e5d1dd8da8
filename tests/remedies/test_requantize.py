import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.exl2.builders import tiny_tensors, write_folder
from tests.exl2.test_convert import make_model
from tests.exl2.test_partial import changed_modules
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2 import walker
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.remedies import kept, requantize
from wfgy_triage.remedies.recipes import PROTECT, RAISE, RAISE_HEAD, RATES, estimated_bytes, next_recipes
from wfgy_triage.remedies.requantize import Siblings


@pytest.fixture
def pair(tmp_path):
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    quantize_folder(source, tmp_path / "exl2", bpw=4.6, head_bits=4, method="rtn")
    return source, tmp_path / "exl2"


@pytest.fixture
def now(pair):
    return read_recipe(read_folder(pair[1]))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def with_head(now, bits=8):
    return Recipe(now.bpw, bits, now.protect, now.method)


def protected(now, **parts):
    return Recipe(now.bpw, now.head_bits, {k.replace("_", " "): v for k, v in parts.items()}, now.method)


def entries(cache):
    return {p.name for p in cache.iterdir() if p.is_dir()}


def test_the_recipe_of_a_folder_is_read_back(tmp_path, pair, now):
    assert (now.head_bits, now.method, now.protect) == (4, "rtn", {})
    assert now.bpw == pytest.approx(inspect_folder(pair[1]).decoder_bpw, abs=0.0051)


@pytest.mark.parametrize(
    ("block", "method", "bpw"),
    [
        ({"bits": 3.3, "calibration": {"rows": 100}}, "gptq", 3.3),  # as the library's converter writes it
        ({"bits": 3.3, "calibration": {"rows": 0}}, "rtn", 3.3),
        ({"bits": 5.0, "rest_bits": 4.2, "protect": {"mlp": 6}, "method": "gptq"}, "gptq", 4.2),
        (None, "gptq", None),
    ],
)
def test_the_recipe_of_a_foreign_folder_is_read(pair, block, method, bpw):
    config = json.loads((pair[1] / "config.json").read_text())
    config["quantization_config"] = block
    (pair[1] / "config.json").write_text(json.dumps(config))
    recipe = read_recipe(read_folder(pair[1]))
    assert recipe.method == method
    assert recipe.bpw == (bpw or round(inspect_folder(pair[1]).decoder_bpw, 2))
    assert recipe.head_bits == 4


def test_candidates_come_by_size_and_each_is_larger(pair, now):
    found = next_recipes(pair[1], ["mlp 1-1", "all", "attn 0-0", "head"])
    assert {c.recipe.head_bits for c in found[RAISE_HEAD]} <= {6, 8}
    assert {c.recipe.bpw for c in found[RAISE]} == {bpw for bpw in RATES if bpw >= now.bpw + 0.4}
    assert {tuple(c.recipe.protect) for c in found[PROTECT]} == {
        ("mlp 1-1",), ("mlp 1-1", "attn 0-0"), ("mlp",),
    }  # fmt: skip
    for remedy, candidates in found.items():
        sizes = [c.size_bytes for c in candidates]
        assert sizes == sorted(sizes)
        assert all(c.more_bytes > 0 and c.remedy == remedy for c in candidates)
    assert next_recipes(pair[1])[PROTECT] == ()
    with pytest.raises(InputError, match="No layer"):
        next_recipes(pair[1], ["mlp 9-9"])


def test_the_estimated_size_is_close_to_the_real_one(tmp_path, cache):
    pair = make_model(tmp_path / "fp16"), tmp_path / "exl2"
    quantize_folder(*pair, bpw=4.6, head_bits=4, method="rtn")
    now = read_recipe(read_folder(pair[1]))
    found = next_recipes(pair[1], ["mlp 1-1", "attn 0-0"])
    contents = read_folder(pair[1])
    real_now = sum(m.nbytes for m in contents.tensors.values())
    assert estimated_bytes(contents, now) == real_now
    siblings = Siblings(cache)
    for candidate in [found[RAISE_HEAD][-1], found[PROTECT][0], found[PROTECT][-1], found[RAISE][0]]:
        folder = siblings.make(*pair, candidate.recipe)
        real = sum(m.nbytes for m in read_folder(folder).tensors.values())
        assert real == pytest.approx(candidate.size_bytes, rel=0.05)
        assert real > real_now


def test_a_sibling_is_made_once_and_says_how(pair, now, cache):
    steps = []
    siblings = Siblings(cache)
    folder = siblings.make(*pair, with_head(now), lambda *step: steps.append(step))
    assert changed_modules(pair[1], folder) == {"lm_head"}
    made = siblings.made(folder)
    assert (made.linears, made.copied_rest, made.head_bits, made.calibration_rows) == (1, True, 8, 0)
    assert made.recipe == with_head(now)
    assert made.size_bytes == (folder / "output.safetensors").stat().st_size
    assert steps
    steps.clear()
    assert Siblings(cache).make(*pair, with_head(now), lambda *step: steps.append(step)) == folder
    assert steps == []


class ChainWalker:
    def __init__(self, folder):
        self.tensors = tiny_tensors()

    def encode(self, text):
        return [ord(c) % 90 for c in text]

    def sensitivities(self, rows, before_row=None):
        return {}

    def walk(self, rows, visit):
        hidden = self.tensors["model.embed_tokens.weight"].float()[rows].flatten(0, 1)
        for name, weight in self.tensors.items():
            if name.endswith("_proj.weight"):
                inputs = torch.nn.functional.pad(hidden, (0, weight.shape[1] - 64))
                visit(name.removesuffix(".weight"), weight, inputs)
        visit("lm_head", self.tensors["model.embed_tokens.weight"], hidden)


@pytest.fixture
def chain(monkeypatch):
    """A walker that needs no model."""
    monkeypatch.setattr("wfgy_triage.engines.calibration.TransformersWalker", ChainWalker)


def test_another_rate_makes_everything_anew(pair, cache, chain):
    siblings = Siblings(cache, calibration_rows=2)
    folder = siblings.make(*pair, Recipe(6.2, 8, {"mlp 0-0": 8.5}, "gptq"))
    made = siblings.made(folder)
    assert (made.copied_rest, made.linears, made.calibration_rows) == (False, 15, 2)
    recipe = read_recipe(read_folder(folder))
    assert (recipe.head_bits, recipe.method, recipe.protect) == (8, "gptq", {"mlp 0-0": 8.5})


@pytest.mark.parametrize("change", ["weights", "sibling", "tokenizer", "recipe", "version"])
def test_what_a_sibling_depends_on_is_in_its_name(pair, now, cache, change, monkeypatch):
    first = Siblings(cache).make(*pair, with_head(now))
    recipe = with_head(now)
    if change == "weights":
        os.utime(pair[0] / "model.safetensors", (1, 1))  # rewritten, perhaps between the sampled bytes
    elif change == "sibling":
        os.utime(pair[1] / "output.safetensors", (1, 1))
    elif change == "tokenizer":
        (pair[1] / "tokenizer.json").write_text('{"other": 1}')
    elif change == "recipe":
        recipe = protected(now, mlp=6.5)
    else:
        monkeypatch.setattr(requantize, "VERSION", 99)
    assert Siblings(cache).make(*pair, recipe) != first


def test_the_calibration_is_in_the_name_where_there_is_one(pair, now, cache, chain, monkeypatch):
    recipe, rounded = Recipe(6.2, 8), with_head(now)
    first, plain = Siblings(cache).make(*pair, recipe), Siblings(cache).make(*pair, rounded)
    fewer = Siblings(cache, calibration_rows=2).make(*pair, recipe)
    monkeypatch.setattr(walker, "standard_calibration", lambda: (walker.Passage("other words " * 100, 1),))
    other = Siblings(cache).make(*pair, recipe)
    assert len({first, fewer, other}) == 3
    assert Siblings(cache).make(*pair, rounded) == plain


def test_other_things_in_the_cache_folder_are_left_alone(pair, now, cache):
    (cache / "mine" / "a").mkdir(parents=True)
    (cache / ".mine.part-1").mkdir()
    Siblings(cache).make(*pair, with_head(now))
    assert {"mine", ".mine.part-1"} <= entries(cache)


@pytest.mark.parametrize("damage", ["cut", "byte", "config", "gone", "record", "no record"])
def test_a_damaged_entry_is_made_again(pair, now, cache, damage):
    folder = Siblings(cache).make(*pair, with_head(now))
    weights, record = folder / "output.safetensors", folder.with_name(f"{folder.name}.json")
    good = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(good[:-100])
    elif damage == "byte":
        weights.write_bytes(good[:-1] + bytes([good[-1] ^ 255]))
    elif damage == "config":
        (folder / "config.json").write_text("{")
    elif damage == "gone":
        shutil.rmtree(folder)
    elif damage == "record":
        record.write_text(record.read_text()[:30])
    else:
        record.unlink()
    assert Siblings(cache).make(*pair, with_head(now)) == folder
    assert weights.read_bytes() == good
    assert inspect_folder(folder).anomalies == ()


def test_a_full_disk_is_said_before_any_work(pair, now, cache, monkeypatch):
    usage = shutil.disk_usage(pair[0])
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda _: usage._replace(free=1234))
    with pytest.raises(PrerequisiteError, match=r"needs [\d,]+ bytes .* 1,234 are available") as caught:
        Siblings(cache).make(*pair, with_head(now))
    assert caught.value.hint
    assert entries(cache) == set()


def test_a_cache_that_cannot_be_written_is_said(pair, now, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(PrerequisiteError, match="could not be written"):
        Siblings(cache).make(*pair, with_head(now))


def test_too_little_memory_is_said_before_the_model_is_loaded(pair, now, cache, monkeypatch):
    class Memory:
        available = 5

    monkeypatch.setattr(requantize.psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(PrerequisiteError, match="of memory; 5 are available"):
        Siblings(cache).make(*pair, Recipe(6.2, 8))
    assert entries(cache) == set()


def test_a_stop_ends_within_a_linear_and_leaves_nothing(pair, now, cache):
    seen = []
    folder = Siblings(cache).make(
        *pair, protected(now, mlp=6.5), lambda *step: seen.append(step), lambda: len(seen) >= 3
    )
    assert folder is None
    assert len(seen) == 3
    assert entries(cache) == set()
    assert Siblings(cache).make(*pair, protected(now, mlp=6.5)) is not None


def test_a_second_maker_waits_and_can_be_stopped(pair, now, cache):
    siblings, seen = Siblings(cache), []

    def inside(done, total, label):
        if not seen:
            stops = iter([False, True])
            seen.append(Siblings(cache).make(*pair, protected(now, attn=6.5), None, lambda: next(stops)))

    assert siblings.make(*pair, with_head(now), inside) is not None
    assert seen == [None]


def test_killed_in_the_middle_leaves_no_half_entry(pair, now, cache):
    source, exl2 = pair
    code = (
        "import time; from pathlib import Path; from wfgy_triage.remedies.requantize import *\n"
        "def wait(done, total, label):\n"
        "    if done == 1: print('working', flush=True); time.sleep(60)\n"
        f"Siblings(Path({str(cache)!r})).make(Path({str(source)!r}), Path({str(exl2)!r}),"
        f" Recipe({now.bpw}, {now.head_bits}, {{'mlp': 6.5}}, 'rtn'), wait)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "working"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(entries(cache)) == 1  # the hidden folder that the killed process was writing
    folder = Siblings(cache).make(source, exl2, protected(now, mlp=6.5))
    assert entries(cache) == {folder.name}
    assert inspect_folder(folder).anomalies == ()


def test_what_was_used_longest_ago_is_dropped_first(pair, now, cache):
    recipes = [protected(now, **{part: 6.5}) for part in ("attn_0-0", "attn_1-1", "mlp_0-0")]
    a, b, c = (Siblings(cache).make(*pair, recipe) for recipe in recipes)
    for age, folder in ((3, a), (2, b), (1, c)):
        record = folder.with_name(f"{folder.name}.json")
        os.utime(record, (record.stat().st_mtime - 100 * age,) * 2)
    assert Siblings(cache).make(*pair, recipes[0]) == a  # used again: now the youngest
    size = (a / "output.safetensors").stat().st_size
    new = Siblings(cache, limit_bytes=round(3.5 * size)).make(*pair, with_head(now))
    assert entries(cache) == {a.name, c.name, new.name}
    assert not b.with_name(f"{b.name}.json").exists()


def test_what_is_in_use_stays_even_beyond_the_limit(pair, now, cache):
    siblings = Siblings(cache, limit_bytes=1)
    first = siblings.make(*pair, with_head(now))
    second = siblings.make(*pair, protected(now, mlp=6.5))
    assert entries(cache) == {first.name, second.name}


def test_a_recipe_that_brings_nothing_is_refused(pair, now, cache):
    with pytest.raises(InputError, match="already has"):
        Siblings(cache).make(*pair, now)
    assert entries(cache) == set()


def _drift(fp16, folder):
    """Mean KL(FP16 || folder) in nats on the start of the held-out text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from wfgy_triage.exl2.checkpoint import Checkpoint

    model = AutoModelForCausalLM.from_pretrained(fp16, dtype=torch.float32).eval()
    text = AutoTokenizer.from_pretrained(fp16)(walker.evaluation_text()[:1500], return_tensors="pt").input_ids
    with torch.inference_mode():
        reference = model(text).logits[0].log_softmax(-1)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        with Checkpoint.open(folder) as checkpoint:
            for key in checkpoint.quantized_keys():
                model.get_submodule(key).weight.data.copy_(checkpoint.decode(key).float())
        other = model(text).logits[0].log_softmax(-1)
        return float((reference.exp() * (reference - other)).sum(-1).mean())


@pytest.mark.demo
def test_protecting_a_part_of_the_demo_lowers_its_drift(demo_pair, cache):
    fp16, exl2 = demo_pair["fp16"], demo_pair["demo-3bpw"]
    now = read_recipe(read_folder(exl2))
    folder = Siblings(cache, calibration_rows=2).make(fp16, exl2, protected(now, **{"mlp_0-2": 6.0}))
    expected = {f"model.layers.{b}.mlp.{name}_proj" for b in range(3) for name in ("gate", "up", "down")}
    changed = changed_modules(exl2, folder)
    assert changed <= expected
    assert len(changed) >= 6
    old, new = load_file(exl2 / "output.safetensors"), load_file(folder / "output.safetensors")
    assert sum(t.nbytes for t in new.values()) > sum(t.nbytes for t in old.values())
    assert inspect_folder(folder).anomalies == ()
    assert _drift(fp16, folder) < _drift(fp16, exl2)
