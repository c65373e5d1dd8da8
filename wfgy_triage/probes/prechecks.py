"""Rungs 1 to 4 of the isolation ladder: is it the same question, the same configuration, an intact checkpoint?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wfgy_triage.diagnosis import FAULT, OK, ONLY_WEIGHTS, UNKNOWN
from wfgy_triage.engines.base import Engine, ScoreRequest
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.pairs import Pair
from wfgy_triage.result import Check

SAMPLE_TEXT = 'Ωmega café — {"id": 42, "naïve": [true, null]}\n\tdef f(x): return x  # 日本語 🙂'
"""Scripts, digits, punctuation, white space: where tokenizers differ when they differ at all."""
SAMPLE_CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say hello."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Again."},
]
CAUSALITY_TOLERANCE = 1e-2
"""Largest change of a logit that is still rounding; a missing causal mask moves logits by whole units."""
SAME_MODEL_ERROR = 0.9
"""Relative Frobenius error above which two weight matrices are unrelated (2-bit rounding stays near 0.4)."""


def run_prechecks(pair: Pair, fp16: Engine, exl2: Engine) -> tuple[Check, ...]:
    """Run the checks in the order of the ladder; each says what was seen."""
    return (
        _token_ids(fp16, exl2),
        _chat_template(fp16, exl2),
        _special_tokens(pair),
        _rope(pair),
        _integrity(pair),
        _same_model(pair),
        _causality(fp16, exl2),
        _only_weights(fp16, exl2),
    )


def _token_ids(fp16: Engine, exl2: Engine) -> Check:
    same = fp16.encode(SAMPLE_TEXT) == exl2.encode(SAMPLE_TEXT)
    detail = "Both tokenizers turn a sample text into the same token ids."
    if not same:
        detail = "The tokenizers of the two folders turn the same text into different token ids."
    return Check("same_token_ids", OK if same else FAULT, detail)


def _chat_template(fp16: Engine, exl2: Engine) -> Check:
    same = fp16.render_chat(SAMPLE_CHAT) == exl2.render_chat(SAMPLE_CHAT)
    detail = "Both chat templates frame a sample conversation the same way."
    if not same:
        detail = "The chat templates of the two folders frame the same conversation differently."
    return Check("same_chat_template", OK if same else FAULT, detail)


def _special_tokens(pair: Pair) -> Check:
    keys = ("bos_token_id", "eos_token_id")
    ours, theirs = (
        {**_json(f / "config.json"), **_json(f / "generation_config.json")} for f in (pair.fp16, pair.exl2)
    )
    differing = [k for k in keys if ours.get(k) != theirs.get(k)]
    if differing:
        seen = "; ".join(f"{k}: FP16 {ours.get(k)}, EXL2 {theirs.get(k)}" for k in differing)
        return Check("same_special_tokens", FAULT, f"Start or end tokens differ: {seen}.")
    return Check("same_special_tokens", OK, "Start and end tokens are the same on both sides.")


def _rope(pair: Pair) -> Check:
    ours, theirs = (_json(f / "config.json") for f in (pair.fp16, pair.exl2))
    base, served = _rope_theta(ours), theirs.get("rope_theta")
    if served is None and base not in (None, 10000.0):
        return Check(
            "same_rope",
            FAULT,
            f"rope_theta is {base:g} in FP16 and has no top-level entry in the EXL2 config.json; "
            "ExLlamaV2 then uses 10000.",
        )
    if _rope_theta(theirs) != base or _scaling(ours) != _scaling(theirs):
        return Check(
            "same_rope",
            FAULT,
            f"Position settings differ: rope_theta {base} against {_rope_theta(theirs)}, "
            f"scaling {_scaling(ours)} against {_scaling(theirs)}.",
        )
    return Check("same_rope", OK, f"Position settings are the same (rope_theta {base}).")


def _rope_theta(config: Mapping[str, Any]) -> float | None:
    value = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta")
    return None if value is None else float(value)


def _scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The RoPE scaling in one form: older configs have `rope_scaling`, newer ones `rope_parameters`."""
    settings = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    kind = settings.pop("rope_type", None) or settings.pop("type", None) or "default"
    settings.pop("rope_theta", None)
    settings.pop("type", None)
    return {} if kind == "default" else {"type": kind, **settings}


def _integrity(pair: Pair) -> Check:
    anomalies = inspect_folder(pair.exl2).anomalies
    if anomalies:
        more = f" (and {len(anomalies) - 3} more)" if len(anomalies) > 3 else ""
        return Check("checkpoint_intact", FAULT, "; ".join(anomalies[:3]) + more)
    return Check(
        "checkpoint_intact", OK, "Every expected tensor is there, groups are legal, scales are finite."
    )


def _same_model(pair: Pair) -> Check:
    """Compare three decoded matrices (first, middle, last) with the FP16 weights."""
    quantized = Checkpoint.open(pair.exl2)
    baseline = Checkpoint.open(pair.fp16)
    plain = set(baseline.plain_names())
    keys = [k for k in quantized.quantized_keys() if f"{k}.weight" in plain]
    if not keys:
        return Check("same_base_model", UNKNOWN, "No matrix is quantized on one side and plain on the other.")
    errors = {}
    for key in (keys[0], keys[len(keys) // 2], keys[-1]):
        ours = baseline.plain(f"{key}.weight").to(torch.float32)
        theirs = quantized.decode(key).to(torch.float32)
        if ours.shape != theirs.shape:
            return Check(
                "same_base_model",
                FAULT,
                f"{key} is {tuple(ours.shape)} in FP16 and {tuple(theirs.shape)} in EXL2.",
            )
        errors[key] = float((ours - theirs).norm() / ours.norm())
    worst = max(errors, key=lambda k: errors[k])
    if errors[worst] > SAME_MODEL_ERROR:
        return Check(
            "same_base_model",
            FAULT,
            f"{worst} does not resemble the FP16 matrix (relative error {errors[worst]:.2f}; "
            f"unrelated matrices are near 1.4).",
        )
    return Check(
        "same_base_model",
        OK,
        f"Decoded matrices resemble the FP16 ones (largest relative error {errors[worst]:.3f}).",
    )


def _causality(fp16: Engine, exl2: Engine) -> Check:
    moved = {name: _last_token_effect(e) for name, e in (("FP16", fp16), ("EXL2", exl2))}
    guilty = [name for name, size in moved.items() if size > CAUSALITY_TOLERANCE]
    if guilty:
        return Check(
            "causal_attention",
            FAULT,
            f"Changing the last token moves earlier predictions on {' and '.join(guilty)} "
            f"(by up to {max(moved.values()):.2g}): attention sees the future.",
        )
    return Check("causal_attention", OK, "Changing the last token leaves earlier predictions as they are.")


def _last_token_effect(engine: Engine) -> float:
    """Largest change of any logit before the last token when only the last token is replaced."""
    ids = engine.encode("The causality check reads one short sentence twice.")
    rows = []
    for last in (ids[-1], ids[0]):
        request = ScoreRequest("causality", (*ids[:-1], last), 1)
        rows.append(torch.cat([chunk.logits.clone() for chunk in engine.logits([request])]))
    return float((rows[0] - rows[1]).abs().max())


def _only_weights(fp16: Engine, exl2: Engine) -> Check:
    """Rung 7: decoded weights run in the very code that runs the baseline."""
    facts = [(e.info.engine_version, e.info.device, e.info.compute_dtype, e.info.mode) for e in (fp16, exl2)]
    if facts[0] == facts[1]:
        return Check(
            ONLY_WEIGHTS,
            OK,
            "Both sides run in the same engine code with the same numerics, greedy decoding and a full-precision "
            "cache; only the weights differ.",
        )
    return Check(
        ONLY_WEIGHTS, UNKNOWN, "The two sides run in different engines or numerics; that is not held fixed."
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}
