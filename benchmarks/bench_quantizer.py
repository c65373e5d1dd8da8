"""The quantizer: time, and drift from FP16 at four bit rates, GPTQ against round-to-nearest at equal rate.

Drift is KL(FP16 || EXL2) in nats on text that calibration never sees, scored in fp32 by teacher forcing.
`rtn` rounds in stored feature order; `rtn+order` also gets the activation order, so that the gain of error feedback
alone can be read off. Drift is the same every time, so each folder is made once; the time to make one is taken at one
rate, the arms in turn, as often as asked for.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from wfgy_triage.engines.calibration import TransformersWalker
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.codec import decode_linear, encode_linear
from wfgy_triage.exl2.convert import QuantizeReport, quantize_folder
from wfgy_triage.exl2.gptq import input_hessian, prepare_inputs, quantize_gptq
from wfgy_triage.exl2.layout import BIT_WIDTHS, make_groups
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS
from wfgy_triage.exl2.rtn import quantize_rtn
from wfgy_triage.exl2.walker import evaluation_text
from wfgy_triage.settings import load_settings

RATES = (3.3, 4.2, 5.3, 6.1)
ARMS = ("rtn", "rtn+order", "gptq")
ROW_TOKENS = 512
CHUNK = 128
TIMED_RATE = 4.2
REPEATS = 5
DECODE_REPEATS = 5


@dataclass(frozen=True)
class Row:
    """One quantized folder: rates in bits per weight, drift in nats, times in seconds."""

    method: str
    bpw: float
    head_bpw: float | None
    kld: float
    top1: float
    quantize_s: float
    decode_s: float


class Scorer:
    """Holds the FP16 side's final hidden states and compares a folder against them chunk by chunk."""

    def __init__(self, fp16: Path, rows: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(fp16)
        self.model = AutoModelForCausalLM.from_pretrained(fp16, dtype=torch.float32).eval()
        ids = tokenizer.encode(evaluation_text(), add_special_tokens=False)
        self.rows = torch.tensor(ids[: rows * ROW_TOKENS]).view(-1, ROW_TOKENS)
        self.head = self.model.lm_head.weight.detach().clone()
        with torch.inference_mode():
            self.hidden = [self.model.model(row[None]).last_hidden_state[0, :-1] for row in self.rows]

    @torch.inference_mode()
    def score(self, folder: Path) -> tuple[float, float]:
        """Mean KL and share of positions with the same most likely token."""
        head = self.head
        with Checkpoint.open(folder) as checkpoint:
            for key in checkpoint.quantized_keys():
                weight = checkpoint.decode(key).float()
                if key == "lm_head":
                    head = weight
                else:
                    self.model.get_submodule(key).weight.data.copy_(weight)
        kl, same = [], []
        for row, reference in zip(self.rows, self.hidden, strict=True):
            hidden = self.model.model(row[None]).last_hidden_state[0, :-1]
            for a, b in zip(reference.split(CHUNK), hidden.split(CHUNK), strict=True):
                p, q = (a @ self.head.T).log_softmax(-1), (b @ head.T).log_softmax(-1)
                kl.append((p.exp() * (p - q)).sum(-1))
                same.append((p.argmax(-1) == q.argmax(-1)).float())
        return float(torch.cat(kl).mean()), float(torch.cat(same).mean())


def quantize(fp16: Path, arm: str, bpw: float, out: Path) -> QuantizeReport:
    """Make one folder."""
    walker = None if arm == "rtn" else TransformersWalker(fp16)
    return quantize_folder(fp16, out, bpw=bpw, method="gptq" if arm == "gptq" else "rtn", walker=walker)


def quantize_seconds(fp16: Path, scratch: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds to quantize at `TIMED_RATE`, by arm; the arms in turn."""
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(repeats):
        for arm in ARMS:
            out = scratch / f"timed-{arm}-{number}"
            seconds[arm].append(round(quantize(fp16, arm, TIMED_RATE, out).seconds, 2))
            shutil.rmtree(out)
    return seconds


def measure(fp16: Path, arm: str, bpw: float, scorer: Scorer, scratch: Path) -> Row:
    """Quantize one folder, score it, decode it."""
    out = scratch / f"{arm}-{bpw}"
    report = quantize(fp16, arm, bpw, out)
    kld, top1 = scorer.score(out)
    return Row(arm, report.decoder_bpw, report.head_bpw, kld, top1, report.seconds, decode_seconds(out))


def decode_seconds(folder: Path) -> float:
    """Median time to open a folder and decode every linear, one after the other."""
    times = []
    for _ in range(DECODE_REPEATS):
        started = time.perf_counter()
        with Checkpoint.open(folder) as checkpoint:
            for key in checkpoint.quantized_keys():
                checkpoint.decode(key)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def exactness() -> list[dict[str, Any]]:
    """For every bit width and preset: do packed tensors decode to the quantizer's own weights, bit for bit?"""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((200, 576), generator=generator) * 0.02
    prepared = prepare_inputs(input_hessian(torch.randn((2048, 576), generator=generator)))
    mixes = {f"{bits}b uniform": make_groups([(bits, 64)] * 9) for bits in BIT_WIDTHS}
    mixes |= {f"{p.name} {p.shares}": p.groups(576) for p in PRESETS}
    mixes |= {f"head {bits}: {p.name}": p.groups(576) for bits, p in HEAD_PRESETS.items()}
    table = []
    for name, groups in mixes.items():
        equal = {}
        for method, linear in (
            ("gptq", quantize_gptq(weight, groups, prepared)),
            ("rtn", quantize_rtn(weight, groups, prepared.permutation)),
        ):
            parts = (linear.codes, linear.qscale, linear.scale_max, linear.groups, linear.permutation)
            decoded = decode_linear(encode_linear(*parts), groups, 200)
            equal[method] = torch.equal(decoded.view(torch.int16), linear.weight.view(torch.int16))
        table.append({"mix": name, **equal})
    return table


def run(fast: bool = False, fp16: Path | None = None, repeats: int = REPEATS) -> dict[str, Any]:
    """Run the benchmark, print its tables, return the numbers.

    Args:
        fast: two rates and two rows of text instead of four and eight.
        fp16: the FP16 folder; the demo's without it.
        repeats: how often quantizing is timed; once when fast.
    """
    if fp16 is None:
        from wfgy_triage.demo import fp16_folder

        fp16 = fp16_folder(load_settings())
    table = exactness()
    print(f"{'mix':44} {'gptq':>6} {'rtn':>6}   decode(encode(w)) == w, bit for bit")
    for entry in table:
        print(f"{entry['mix']:44} {entry['gptq']!s:>6} {entry['rtn']!s:>6}")
    scorer = Scorer(fp16, 2 if fast else 8)
    print(
        f"\n{'method':10} {'bpw':>6} {'head':>6} {'KLD':>8} {'top-1':>7} {'quantize s':>11} {'decode s':>9}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for bpw in RATES[1::2] if fast else RATES:
            for arm in ARMS:
                row = measure(fp16, arm, bpw, scorer, Path(scratch))
                rows.append(row)
                head = "-" if row.head_bpw is None else f"{row.head_bpw:.2f}"
                print(
                    f"{row.method:10} {row.bpw:6.3f} {head:>6} {row.kld:8.4f} {row.top1:7.3f} "
                    f"{row.quantize_s:11.1f} {row.decode_s:9.2f}",
                    flush=True,
                )
        timed = quantize_seconds(fp16, Path(scratch), 1 if fast else repeats)
    for arm, seconds in timed.items():
        print(
            f"{arm:10} {TIMED_RATE:6.3f} bpw: median of {len(seconds)}: {statistics.median(seconds):.1f} s {seconds}"
        )
    ratios = {f"{g.bpw:.2f}": g.kld / r.kld for r, g in zip(rows[0::3], rows[2::3], strict=True)}
    print("GPTQ / RTN mean KLD:", ", ".join(f"{bpw} bpw {ratio:.2f}" for bpw, ratio in ratios.items()))
    positions = sum(h.shape[0] for h in scorer.hidden)
    return {
        "rows": [vars(row) for row in rows],
        "quantize_s": timed,
        "kld_ratio": ratios,
        "positions": positions,
        "exact": all(entry["gptq"] and entry["rtn"] for entry in table),
        "exactness": table,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fp16", type=Path, nargs="?", help="FP16 folder (default: the demo's)")
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    run(options.fast, options.fp16)
