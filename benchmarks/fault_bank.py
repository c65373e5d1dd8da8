"""The fault bank: every known fault with the cause that must be named, and healthy pairs that must not be accused.

Folder faults (`faults.py`) are seen by the doctor; `symptom` is empty. The others show only in a run, so they name
the probe that looks, with how many questions. To add one, write a function that makes it and add a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from benchmarks import bank_indexes, bank_questions
from benchmarks.bank_contexts import CHAINS, context_short_of_chains
from benchmarks.bank_workshop import Workshop
from benchmarks.faults import FAULTS, Fault, broken_copy, edit_json, write
from wfgy_triage.diagnosis import BASELINE_FAILS, KV_CACHE, SAMPLER
from wfgy_triage.errors import InputError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.pairs import Pair
from wfgy_triage.workload.stored import BUILTIN

NO_CAUSE = frozenset({"nothing_found", "within_noise"})
"""What may be said of a healthy pair."""
BASELINE = BASELINE_FAILS
"""What may be said of a healthy pair whose FP16 side misses the gate: only where a case expects it."""
NOT_COVERED: Mapping[str, str] = {
    "wheel of another CUDA or torch, extension missing": "faults of the machine, not of a pair",
    "attention that is not causal": "needs exllamav2's attention on a GPU",
    "the weights of another base model": "none of the demo's shape is at hand; foreign_weights draws numbers instead",
}
"""Faults that this bank cannot make."""


@dataclass(frozen=True)
class Setup:
    """A pair ready to be looked at, the options of the probe that looks, and the id of the question set."""

    pair: Pair
    options: Mapping[str, str] = field(default_factory=dict)
    workload: str = BUILTIN


@dataclass(frozen=True)
class Case:
    """One pair with a known answer.

    Attributes:
        id: stable name.
        says: what was done to it, in words.
        cause: what must be named; of a healthy pair one of `NO_CAUSE`, or `BASELINE`.
        make: makes it.
        symptom: the probe that looks; empty for the doctor's folder checks alone.
        questions: how many the probe asks.
        seed: of the run.
    """

    id: str
    says: str
    cause: str
    make: Callable[[Workshop], Setup]
    symptom: str = ""
    questions: int = 0
    seed: int = 0

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to find."""
        return self.cause in NO_CAUSE or self.cause == BASELINE

    def right(self, named: str) -> bool:
        """Whether this may be named."""
        return named == self.cause or (self.healthy and named in NO_CAUSE)


def head_at_two_bits(fp16: Path, exl2: Path) -> None:
    """The head is stored at 2 bits."""
    import torch

    from wfgy_triage.exl2.codec import encode_linear
    from wfgy_triage.exl2.modules import EMBEDDING, HEAD
    from wfgy_triage.exl2.presets import HEAD_PRESETS
    from wfgy_triage.exl2.rtn import quantize_rtn

    with Checkpoint.open(fp16) as source:
        weight = source.plain(EMBEDDING)
    order = torch.arange(weight.shape[1])
    made = quantize_rtn(weight, HEAD_PRESETS[2].groups(weight.shape[1]), order)
    packed = encode_linear(made.codes, made.qscale, made.scale_max, made.groups, made.permutation, None)
    path = next(exl2.glob("*.safetensors"))
    tensors = {n: t for n, t in load_file(path).items() if not n.startswith(f"{HEAD}.")}
    path.unlink()
    save_file(tensors | {f"{HEAD}.{part}": t for part, t in packed.items()}, path)
    edit_json(exl2 / "config.json", lambda d: d["quantization_config"].update(head_bits=2))


def file_renamed(fp16: Path, exl2: Path) -> None:
    """The weights' file has another name."""
    next(exl2.glob("*.safetensors")).rename(exl2 / "zzz.safetensors")


def sharded(fp16: Path, exl2: Path) -> None:
    """The weights lie in two files with an index."""
    path = next(exl2.glob("*.safetensors"))
    tensors = load_file(path)
    path.unlink()
    names = sorted(tensors, reverse=True)
    weights: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"output-0000{number}-of-00002.safetensors"
        save_file({n: tensors[n] for n in part}, exl2 / file)
        weights |= dict.fromkeys(part, file)
    write(exl2 / "model.safetensors.index.json", json.dumps({"weight_map": weights}).encode())


def files_added(fp16: Path, exl2: Path) -> None:
    """More tokenizer files and a README than the baseline has."""
    vocab = json.loads((exl2 / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    write(exl2 / "vocab.json", json.dumps(vocab).encode())
    write(exl2 / "README.md", b"# A model\n")


def config_reordered(fp16: Path, exl2: Path) -> None:
    """The same settings in another order, written by another version."""
    data = json.loads((exl2 / "config.json").read_text(encoding="utf-8"))
    turned = {k: data[k] for k in reversed(list(data))} | {"transformers_version": "4.30.0"}
    write(exl2 / "config.json", json.dumps(turned, indent=4).encode())


def sampling_defaults(fp16: Path, exl2: Path) -> None:
    """The quantized folder suggests a temperature, which no greedy request uses."""
    edit_json(exl2 / "generation_config.json", lambda d: d.update(do_sample=True, temperature=0.7, top_p=0.9))


def sampling_hot(fp16: Path, exl2: Path) -> None:
    """The quantized folder suggests to draw at temperature 1.5, FP16 to take the likeliest word."""
    edit_json(exl2 / "generation_config.json", lambda d: d.update(do_sample=True, temperature=1.5))


def sampling_alike(fp16: Path, exl2: Path) -> None:
    """Both folders suggest to draw at temperature 0.3."""
    for folder in (fp16, exl2):
        edit_json(folder / "generation_config.json", lambda d: d.update(do_sample=True, temperature=0.3))


def _as_suggested(change: Callable[[Path, Path], None], cause: str) -> Case:
    """Records asked of 6 bpw as each folder suggests."""
    fault = Fault(change.__name__, (change.__doc__ or "").strip(), cause, change)

    def make(shop: Workshop) -> Setup:
        return replace(_broken(fault, "demo-6bpw")(shop), options={"sampling": "suggested"})

    return Case(fault.id, fault.says, fault.cause, make, "json_breaks", 20)


def _broken(fault: Fault, sibling: str = "demo") -> Callable[[Workshop], Setup]:
    return lambda shop: Setup(broken_copy(shop.pair(sibling), fault, shop.fresh()))


def _harmless(change: Callable[[Path, Path], None]) -> Case:
    fault = Fault(change.__name__, (change.__doc__ or "").strip(), "nothing_found", change)
    return Case(fault.id, fault.says, fault.cause, _broken(fault))


def _rounded(bpw: float) -> Callable[[Workshop], Setup]:
    return lambda shop: Setup(shop.rounded(bpw))


def _index(make: Callable[[Workshop], dict[str, str]]) -> Callable[[Workshop], Setup]:
    return lambda shop: Setup(shop.pair("demo-6bpw"), make(shop))


def _asking(make: Callable[[Workshop], str], cause: str) -> Case:
    """Records of a question set asked of the healthy pair at 6 bpw."""

    def asked(shop: Workshop) -> Setup:
        return Setup(shop.pair("demo-6bpw"), workload=make(shop))

    return Case(make.__name__, (make.__doc__ or "").strip(), cause, asked, "json_breaks", 20)


def _cached(kind: str) -> Callable[[Workshop], Setup]:
    return lambda shop: Setup(
        replace(shop.pair("demo-6bpw"), id=f"cache-{kind.lower()}", engine={"cache": kind})
    )


def _itself(shop: Workshop) -> Setup:
    pair = shop.pair("demo")
    return Setup(replace(pair, id="fp16-itself", exl2=pair.fp16))


FOLDER_FAULTS = tuple(Case(f.id, f.says, f.cause, _broken(f)) for f in FAULTS)

_CONTEXT = Fault(
    context_short_of_chains.__name__,
    (context_short_of_chains.__doc__ or "").strip(),
    "context_overflow",
    context_short_of_chains,
)
_HEAD = Fault("head_2_bits", "the head at 2 bits, the decoder at 6", "head_bits_too_few", head_at_two_bits)

MEASURED_FAULTS = (
    Case("bits_2_3", "rounded to 2.3 bpw", "weights_too_few_bits", _rounded(2.3), "json_breaks", 20),
    Case(_HEAD.id, _HEAD.says, _HEAD.cause, _broken(_HEAD, "demo-6bpw"), "json_breaks", 20),
    *(
        Case(make.__name__, (make.__doc__ or "").strip(), cause, _index(make), "wrong_snippet", 40)
        for make, cause in (
            (bank_indexes.index_of_another_model, "index_model_mismatch"),
            (bank_indexes.index_of_a_damaged_sibling, "index_model_mismatch"),
            (bank_indexes.index_not_normalised, "index_metric_mismatch"),
            (bank_indexes.index_by_wrong_distance, "index_metric_mismatch"),
            (bank_indexes.passages_doubled, "index_fragmented"),
            (bank_indexes.rows_shifted, "index_fragmented"),
        )
    ),
    Case(
        "cache_at_4_bits", "6 bpw behind a Q4 cache, long chains", KV_CACHE, _cached("Q4"), "long_chain", 20
    ),
    _as_suggested(sampling_hot, SAMPLER),
    Case(_CONTEXT.id, _CONTEXT.says, _CONTEXT.cause, _broken(_CONTEXT, "demo-6bpw"), "long_chain", CHAINS),
    _asking(bank_questions.days_abbreviated, "schema_unconstrained"),
    _asking(bank_questions.fields_not_stated, "prompt_contract_missing"),
)

HARMLESS = tuple(
    _harmless(f) for f in (file_renamed, sharded, files_added, config_reordered, sampling_defaults)
)
"""Changes that differ from the healthy pair in their files and in nothing that counts."""

HEALTHY = (
    Case("demo-4.2bpw", "GPTQ, 4.2 bpw", "nothing_found", lambda shop: Setup(shop.pair("demo"))),
    Case("demo-6bpw", "GPTQ, 6 bpw", "nothing_found", lambda shop: Setup(shop.pair("demo-6bpw"))),
    Case("demo-3bpw", "GPTQ, 3.3 bpw", "nothing_found", lambda shop: Setup(shop.pair("demo-3bpw"))),
    Case("fp16-itself", "FP16 on both sides", "nothing_found", _itself),
    Case("rounded-8bpw", "rounded to 8 bpw", "nothing_found", _rounded(8.0)),
    Case("rounded-6bpw", "rounded to 6 bpw", "nothing_found", _rounded(6.0)),
    *HARMLESS,
)

MEASURED_HEALTHY = (
    Case(
        "index_in_order",
        "a good index of FP16, asked by EXL2 at 6 bpw",
        "within_noise",
        _index(bank_indexes.index_in_order),
        "wrong_snippet",
        40,
    ),
    Case(
        "json_at_6bpw",
        "GPTQ, 6 bpw, asked for records",
        "within_noise",
        lambda shop: Setup(shop.pair("demo-6bpw")),
        "json_breaks",
        20,
    ),
    _as_suggested(sampling_alike, "within_noise"),
    _asking(bank_questions.days_in_no_grammar, BASELINE),
    _asking(bank_questions.fields_stated, "within_noise"),
    Case(
        "chains_too_hard",
        "GPTQ, 6 bpw, chains that FP16 does not follow",
        BASELINE,
        lambda shop: Setup(shop.pair("demo-6bpw"), {"chains": "baseline_fails"}),
        "long_chain",
        12,
    ),
    Case(
        "cache_at_8_bits",
        "6 bpw behind a Q8 cache, long chains",
        "within_noise",
        _cached("Q8"),
        "long_chain",
        20,
    ),
    Case(
        "another_seed",
        "GPTQ, 6 bpw, the acceptance list with another seed, whose FP16 misses the rule on λ",
        BASELINE,
        lambda shop: Setup(shop.pair("demo-6bpw")),
        "acceptance_gate",
        20,
        seed=1_000,
    ),
)

BANK = (*FOLDER_FAULTS, *HEALTHY, *MEASURED_FAULTS, *MEASURED_HEALTHY)
"""Everything, the cheap part first."""


def chosen(cases: Sequence[Case], ids: Sequence[str]) -> list[Case]:
    """The cases with these ids, in the order of the bank.

    Raises:
        InputError: there is none with one of them.
    """
    if unknown := set(ids) - {c.id for c in cases}:
        known = ", ".join(c.id for c in cases)
        raise InputError(f"There is no case {sorted(unknown)[0]!r} in the bank.", f"There are: {known}.")
    return [c for c in cases if c.id in ids]
