"""The rendered script against the real library: its names, its parameters, and what it does with them."""

from __future__ import annotations

import ast
import itertools
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.remedies import library_sources as library
from wfgy_triage.remedies import chain_loops
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.renders import render
from wfgy_triage.remedies.renders.python_parts import RESTATED
from wfgy_triage.remedies.vocabulary import load_vocabulary

FACTS = Facts("fp16", "exl2", 4.2, 6)
DYNAMIC = "generator/dynamic.py"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
PATCHES: list[dict[str, Any]] = [
    {"model.cache_mode": "FP16"},
    {"model.cache_mode": "Q8", "model.max_seq_len": 5000, "model.no_sdpa": True, "model.warm_up_tokens": 20},
    {"model.no_sdpa": False, "generation_config.eos_token_id": 7},
    {"request.json_schema": SCHEMA, "prompt.contract": "Cite first."},
    {"request.grammar": "[0-9]+", "request.grammar_kind": "regex", "paths.count": 3},
    {"request.grammar": 'start: "a"', "request.grammar_kind": "lark", "chain.segment_steps": 2},
    {"chain.anchor_every": 2, "paths.count": 2, "sampler.temperature": 0.7},
    {
        key.id: {"integer": 1, "boolean": True}.get(key.value["type"], 0.5)
        for key in load_vocabulary().keys.values()
        if key.id.startswith("sampler.")
    },
]  # fmt: skip


def script(changes: dict[str, Any], facts: Facts = FACTS) -> str:
    text = render(Patch(changes), facts)["python"]
    assert text is not None
    return text


def calls(tree: ast.Module, name: str) -> list[ast.Call]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == name]


@pytest.mark.parametrize("changes", PATCHES)
def test_every_name_of_the_library_exists(changes: dict[str, Any]):
    tree = ast.parse(script(changes))
    imports = [
        n for n in tree.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("exllamav2")
    ]
    lock = {"exllamav2.generator.filters"} if any(key.startswith("request.") for key in changes) else set()
    assert {n.module for n in imports} == {"exllamav2", "exllamav2.generator"} | lock
    for node in imports:
        assert {a.name for a in node.names} <= library.exported(node.module or "")
    owners = {
        "config": library.class_of("config.py", "ExLlamaV2Config"),
        "model": library.class_of("model.py", "ExLlamaV2"),
        "tokenizer": library.class_of("tokenizer/tokenizer.py", "ExLlamaV2Tokenizer"),
        "generator": library.class_of(DYNAMIC, "ExLlamaV2DynamicGenerator"),
    }
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    for node in used:
        if node.value.id in owners:  # type: ignore[attr-defined]
            owner = owners[node.value.id]  # type: ignore[attr-defined]
            assert node.attr in library.fields(owner), f"{owner.name}.{node.attr}"


@pytest.mark.parametrize("changes", PATCHES)
def test_every_parameter_exists(changes: dict[str, Any]):
    tree = ast.parse(script(changes))
    generator = library.class_of(DYNAMIC, "ExLlamaV2DynamicGenerator")
    settings = library.class_of("generator/sampler.py", "ExLlamaV2Sampler", "Settings")
    known = {
        "ExLlamaV2DynamicGenerator": library.parameters(generator, "__init__"),
        "ExLlamaV2DynamicJob": library.parameters(
            library.class_of(DYNAMIC, "ExLlamaV2DynamicJob"), "__init__"
        ),
        "generator.generate": library.parameters(generator, "generate"),
        "model.load_autosplit": library.parameters(
            library.class_of("model.py", "ExLlamaV2"), "load_autosplit"
        ),
        "tokenizer.encode": library.parameters(
            library.class_of("tokenizer/tokenizer.py", "ExLlamaV2Tokenizer"), "encode"
        ),
        "ExLlamaV2Sampler.Settings": library.fields(settings),
        "ExLlamaV2Sampler.Settings.greedy": library.fields(settings),
        **{
            name: library.parameters(library.class_of("cache.py", name), "__init__")
            for name in ("ExLlamaV2Cache", "ExLlamaV2Cache_Q8")
        },
    }
    seen = 0
    for name, allowed in known.items():
        for call in calls(tree, name):
            given = {k.arg for k in call.keywords}
            assert given <= allowed, (name, given - allowed)
            seen += 1
    assert seen >= 5


class Machine:
    """A stand-in for the library: answers come from a list, and every call is written down."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = iter(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.jobs: list[Any] = []

    def modules(self) -> dict[str, ModuleType]:  # noqa: C901 - one small class a class of the library
        machine = self

        class Config:
            max_seq_len, no_sdpa, generation_config = 1000, False, {"eos_token_id": [2, 3]}

            def __init__(self, folder: str) -> None:
                machine.calls.append(("config", {"folder": folder, "env": os.environ.get("EXLLAMA_NO_SDPA")}))

            def arch_compat_overrides(self) -> None: ...

        class Cache:
            def __init__(self, model: object, max_seq_len: int, lazy: bool) -> None:
                machine.calls.append(("cache", {"kind": type(self).__name__, "max_seq_len": max_seq_len}))

        class Model:
            def __init__(self, config: Config) -> None:
                self.config = config

            def load_autosplit(self, cache: Cache, progress: bool) -> None: ...

        class Tokenizer:
            eos_token_id = 2

            def __init__(self, config: Config) -> None: ...

            def encode(self, text: str, **options: object) -> str:
                return text

        class Generator:
            def __init__(self, **options: object) -> None: ...

            def warmup(self) -> None:
                machine.calls.append(("warmup", {}))

            def generate(self, **options: Any) -> str:
                machine.calls.append(("generate", options))
                return next(machine.answers)

            def enqueue(self, job: Any) -> None:
                machine.calls.append(("job", job.options))
                machine.jobs = [job]
                job.pieces = list(next(machine.answers))

            def num_remaining_jobs(self) -> int:
                return len(machine.jobs)

            def cancel(self, job: Any) -> None:
                machine.jobs = []

            def iterate(self) -> list[dict[str, Any]]:
                (job,) = machine.jobs
                if not job.started:
                    job.started = True
                    return [{"stage": "started", "eos": False}]
                end = not job.pieces or job.pieces[0] == "✂"
                if end:
                    machine.jobs = []
                    why = "max_new_tokens" if job.pieces else "stop_token"
                    return [{"stage": "streaming", "eos": True, "eos_reason": why}]
                return [{"stage": "streaming", "eos": False, "text": job.pieces.pop(0)}]

        class Job:
            def __init__(self, **options: Any) -> None:
                self.options, self.started, self.pieces = options, False, []

        class Settings(SimpleNamespace):
            @staticmethod
            def greedy() -> str:
                return "greedy"

        root, inner, hub = (
            ModuleType("exllamav2"),
            ModuleType("exllamav2.generator"),
            ModuleType("transformers"),
        )
        root.__dict__.update(ExLlamaV2=Model, ExLlamaV2Config=Config, ExLlamaV2Tokenizer=Tokenizer)
        kinds = ("ExLlamaV2Cache", "ExLlamaV2Cache_Q8", "ExLlamaV2Cache_Q6", "ExLlamaV2Cache_Q4")
        root.__dict__.update({kind: type(kind, (Cache,), {}) for kind in kinds})
        inner.__dict__.update(
            ExLlamaV2DynamicGenerator=Generator,
            ExLlamaV2DynamicJob=Job,
            ExLlamaV2Sampler=SimpleNamespace(Settings=Settings),
        )
        chat = SimpleNamespace(
            chat_template="x",
            bos_token="<s>",  # noqa: S106 - a word of the vocabulary
            apply_chat_template=lambda messages, **_: "|".join(
                f"{m['role']}:{m['content']}" for m in messages
            ),
        )
        hub.__dict__["AutoTokenizer"] = SimpleNamespace(from_pretrained=lambda folder: chat)
        locks = ModuleType("exllamav2.generator.filters")
        locks.__dict__["ExLlamaV2Filter"] = type("ExLlamaV2Filter", (), {"__init__": lambda self, m, t: None})
        ours = {"exllamav2": root, "exllamav2.generator": inner, "exllamav2.generator.filters": locks}
        return {**ours, "transformers": hub}

    def told(self, name: str) -> list[dict[str, Any]]:
        return [options for what, options in self.calls if what == name]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("EXLLAMA_NO_SDPA", "")  # restored afterwards, whatever the script sets

    def go(changes: dict[str, Any], answers: list[str], facts: Facts = FACTS) -> tuple[Machine, str]:
        machine = Machine(answers)
        for name, module in machine.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys, "argv", ["run_exl2.py", "Count."])
        exec(compile(script(changes, facts), "run_exl2.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - what users run
        return machine, capsys.readouterr().out.strip()

    return go


def test_loading(run):
    machine, said = run({"model.cache_mode": "Q6", "model.max_seq_len": 5000}, ["42"])
    assert said == "42"
    assert machine.told("config") == [{"folder": "exl2", "env": "1"}]
    assert machine.told("cache") == [{"kind": "ExLlamaV2Cache_Q6", "max_seq_len": 5120}]
    (asked,) = machine.told("generate")
    assert (asked["prompt"], asked["stop_conditions"]) == ("user:Count.", [2, 3])
    assert (asked["gen_settings"], asked["encode_special_tokens"]) == ("greedy", True)


def test_the_native_length_is_rounded_up_and_end_tokens_are_set(run):
    machine, _ = run({"generation_config.eos_token_id": 9, "model.no_sdpa": False}, ["42"])
    assert machine.told("cache") == [{"kind": "ExLlamaV2Cache", "max_seq_len": 1024}]
    assert machine.told("generate")[0]["stop_conditions"] == [9]
    assert machine.told("config")[0]["env"] is None


def test_sampling_starts_from_neutral_settings(run):
    machine, _ = run({"sampler.temperature": 0.3, "sampler.repetition_penalty": 1.1}, ["42"])
    asked = vars(machine.told("generate")[0]["gen_settings"])
    assert asked == {"temperature": 0.3, "top_k": 0, "top_p": 1.0, "token_repetition_penalty": 1.1}


@pytest.mark.parametrize(
    ("frame", "prompt"), [("Cite.", "user:Cite.\n\nCount."), ("A {prompt} {b}", "user:A Count. {b}")]
)
def test_a_contract_frames_the_task(run, frame: str, prompt: str):
    machine, _ = run({"prompt.contract": frame}, ["42"])
    assert machine.told("generate")[0]["prompt"] == prompt


def test_a_warm_up_comes_before_the_first_request(run):
    machine, said = run({"model.warm_up_tokens": 15}, ["warm", "42"])
    assert [what for what, _ in machine.calls][-3:] == ["warmup", "generate", "generate"]
    assert machine.told("generate")[0]["min_new_tokens"] == 15
    assert said == "42"


def test_a_vote_takes_the_most_frequent_answer(run):
    machine, said = run({"paths.count": 5}, ["a", "b", " b ", "a", "b"])
    assert said == "b"
    assert [g["seed"] for g in machine.told("generate")] == [1, 2, 3, 4, 5]
    assert machine.told("generate")[0]["gen_settings"] != "greedy"


def test_a_vote_of_equals_takes_the_earliest(run):
    assert run({"paths.count": 2}, ["late", "early"])[1] == "late"


def test_segments_start_afresh_from_the_last_steps_as_the_trial_does(run):
    machine, said = run({"chain.segment_steps": 3}, ["1\n2\n3\n", "4\n\n5\n6\n", "7\n"])
    assert said.split("\n") == ["1", "2", "3", "4", "5", "6", "7"]
    first, second, third = (job["input_ids"] for job in machine.told("job"))
    assert first == "user:Count."
    assert "done:\n1\n2\n3\nContinue" in second
    assert "done:\n3\n4\n5\n6\nContinue" in third
    assert RESTATED == chain_loops.RESTATED


def test_the_task_is_repeated_after_what_was_done(run):
    machine, said = run({"chain.anchor_every": 2}, ["1\n2\n3\n", "3\n"])
    assert said.split("\n") == ["1", "2", "3"]
    last = machine.told("job")[1]["input_ids"]
    assert last == "user:Count.|assistant:1\n2|user:The task was:\nCount.\nContinue with the next step."


def test_a_line_cut_off_by_the_token_limit_is_written_anew(run):
    assert run({"chain.segment_steps": 9}, ["1\n2\n3 is cu✂", "3\n"])[1].split("\n") == ["1", "2", "3"]


def test_a_chain_that_never_ends_is_ended(run):
    machine, said = run({"chain.segment_steps": 50}, list(itertools.repeat("x\n" * 60, 9)))
    assert len(said.split("\n")) == 200
    assert len(machine.told("job")) == 4
