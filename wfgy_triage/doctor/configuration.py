"""Rung 2: is it the same configuration? And does exllamav2 read it as it is meant?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wfgy_triage.doctor.finding import Finding, Outcome, Patch, failed, finding, passed, skipped, warned
from wfgy_triage.doctor.patches import json_patch, server_patch
from wfgy_triage.doctor.side import Side
from wfgy_triage.exl2.positions import (
    LIBRARY_SCALINGS,
    LIBRARY_SHARE,
    LIBRARY_THETA,
    applied,
    by_layer_type,
    library_scaling,
    library_share,
    nested_theta,
    number,
    rope_theta,
    rotated_share,
    scaled_apart,
    scaling,
    top_level,
)

SIZES = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "num_experts", "num_local_experts", "num_experts_per_tok",
)  # fmt: skip
BEHAVIOUR = (
    "hidden_act", "hidden_activation", "rms_norm_eps", "layer_norm_eps", "attention_bias", "mlp_bias",
    "sliding_window", "use_sliding_window", "logit_scale", "final_logit_softcapping", "attn_logit_softcapping",
    "query_pre_attn_scalar", "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
    "scale_depth", "scale_emb",
)  # fmt: skip
NO_CONFIG = "A config.json cannot be read."


def check_configuration(fp16: Side, exl2: Side) -> list[Finding]:
    """All checks that need config.json and generation_config.json only."""
    readable = _readable(fp16, exl2)
    found = [readable, _special_tokens(fp16, exl2), _end_token_list(exl2)]
    if not (fp16.readable and exl2.readable):
        rest = (
            "same_architecture", "same_vocabulary", "same_rope", "rope_supported", "same_settings", "same_context",
        )  # fmt: skip
        return [*found, *(skipped(check, NO_CONFIG) for check in rest)]
    return [
        *found,
        _architecture(fp16.config, exl2.config),
        _vocabulary(fp16.config, exl2.config),
        _rope(fp16.config, exl2.config),
        _rope_supported(exl2.config),
        _settings(fp16.config, exl2.config),
        _context(fp16.config, exl2.config),
    ]


def _readable(fp16: Side, exl2: Side) -> Finding:
    problems = []
    for side in (fp16, exl2):
        if not side.config_file.present:
            problems.append(f"{side.name}: {side.folder.name} has no config.json.")
        files = (side.config_file, side.generation_file, side.tokenizer_config_file)
        problems += [f"{side.name}: {file.problem}" for file in files if file.problem]
    if problems:
        return failed("config_readable", " ".join(problems))
    return passed("config_readable", "config.json and what goes with it are readable on both sides.")


def _architecture(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Finding:
    differing = _differences(ours, theirs, SIZES)
    first = [_first(c.get("architectures")) for c in (ours, theirs)]
    if all(first) and first[0] != first[1]:
        differing = {"architectures": (first[0], first[1]), **differing}
    if differing:
        values = {k: a for k, (a, _) in differing.items()}
        if "architectures" in values:
            values["architectures"] = ours["architectures"]
        return failed("same_architecture", _told(differing), json_patch("config.json", values))
    return passed(
        "same_architecture",
        f"{first[1] or theirs.get('model_type')}, {theirs.get('num_hidden_layers')} layers of width "
        f"{theirs.get('hidden_size')} on both sides.",
    )


def _vocabulary(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Finding:
    differing = _differences(ours, theirs, ("vocab_size",))
    if differing:
        return failed("same_vocabulary", _told(differing), _config_patch(differing))
    return passed("same_vocabulary", f"{theirs.get('vocab_size')} tokens on both sides.")


def _settings(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Finding:
    differing = _differences(ours, theirs, BEHAVIOUR)
    if differing:
        return failed("same_settings", _told(differing), _config_patch(differing))
    return passed("same_settings", "Activation, normalisation and attention settings are equal.")


def _context(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Finding:
    key = "max_position_embeddings"
    base, served = number(ours.get(key)), number(theirs.get(key))
    if base is None or served is None or base == served:
        return passed("same_context", f"{theirs.get(key, 'no stated number of')} tokens on both sides.")
    seen = f"FP16 {base:.0f} tokens, EXL2 {served:.0f}."
    patch = json_patch("config.json", {key: ours[key]})
    return (failed if served < base else warned)("same_context", seen, patch)


def _rope(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Finding:
    if by_layer_type(ours) or by_layer_type(theirs):
        return _not_compared("same_rope")
    base, top = rope_theta(ours), number(theirs.get("rope_theta"))
    used = LIBRARY_THETA if base is None else base
    patch = json_patch("config.json", _rope_values(ours, theirs))
    if top is None and used != LIBRARY_THETA:
        return failed(
            "same_rope",
            f"rope_theta is {base:g} in FP16 and has no top-level entry in the EXL2 config.json; "
            "ExLlamaV2 then uses 10000.",
            patch,
        )
    # transformers reads rope_parameters first, exllamav2 the top level only: both places have to be right.
    stated = [t for t in (top, nested_theta(theirs)) if t is not None] or [LIBRARY_THETA]
    wrong = next((t for t in stated if t != used), None)
    if wrong is not None:
        return failed("same_rope", f"rope_theta: FP16 {used:g}, EXL2 {wrong:g}.", patch)
    if scaling(ours) != scaling(theirs):
        return failed(
            "same_rope", f"Scaling: FP16 {_shown(scaling(ours))}, EXL2 {_shown(scaling(theirs))}.", patch
        )
    if applied(library_scaling(theirs)) != applied(scaling(ours)):
        return failed(
            "same_rope",
            f"Scaling: FP16 {_shown(scaling(ours))}. The EXL2 config.json has it in rope_parameters; ExLlamaV2 reads "
            f"rope_scaling at the top level, where there is {_shown(library_scaling(theirs))}.",
            patch,
        )
    share, read = rotated_share(ours), library_share(theirs)
    if share is not None and not _same(share, read):
        return failed(
            "same_rope",
            f"Rotated share of each head (partial_rotary_factor): FP16 {share:g}; ExLlamaV2 reads the top level of the "
            f"EXL2 config.json and takes {read:g}.",
            patch,
        )
    return passed("same_rope", f"Position settings are the same (rope_theta {used:g}).")


def _not_compared(check: str) -> Finding:
    return finding(
        check,
        Outcome.SKIPPED,
        "Positions have other settings in sliding layers than in global ones, as in Gemma 3. What exllamav2 takes of "
        "them is NOT MEASURED.",
        means="Whether EXL2 judges positions as FP16 does is not known for this model.",
        do="Compare rope_theta, rope_local_base_freq and the scaling settings of the two config.json files by hand.",
    )


def _rope_supported(config: Mapping[str, Any]) -> Finding:
    block = config.get("rope_scaling")
    if isinstance(block, Mapping) and {"type", "rope_type"} <= set(block):
        kept = {"rope_scaling": {k: v for k, v in block.items() if k != "type"}}
        return failed(
            "rope_supported",
            "rope_scaling in the EXL2 config.json has both `type` and `rope_type`.",
            json_patch("config.json", kept),
        )
    if by_layer_type(config):
        return _not_compared("rope_supported")
    kind = str(scaling(config).get("type") or "default")
    if kind not in LIBRARY_SCALINGS:
        return warned("rope_supported", f"The EXL2 config.json asks for {kind!r} scaling.")
    if applied(library_scaling(config)) != applied(scaling(config)):
        return finding(
            "rope_supported",
            Outcome.WARN,
            f"The EXL2 config.json asks for {kind!r} scaling in rope_parameters and not in rope_scaling.",
            means="exllamav2 does not look into rope_parameters, so texts are read without this scaling.",
            do="Put the scaling into rope_scaling at the top level as well.",
        )
    if apart := scaled_apart(config, None):
        return finding(
            "rope_supported",
            Outcome.WARN,
            apart,
            means="With FP16 in transformers, a part of the difference is this and not the quantization.",
            do="Set `baseline: exllamav2` in the pair's engine block, so that both sides are scaled alike. Where texts "
            "fit into the original context, yarn may be taken out of both config.json files instead.",
        )
    return passed("rope_supported", f"Scaling is {kind!r}.")


def end_tokens(side: Side) -> dict[str, list[int]]:
    """End-of-sequence ids by file; a single id is a list of one."""
    files = {"config.json": side.config, "generation_config.json": side.generation_file.data}
    return {
        name: _ids(data["eos_token_id"])
        for name, data in files.items()
        if data.get("eos_token_id") is not None
    }


def _special_tokens(fp16: Side, exl2: Side) -> Finding:
    seen, values = [], {}
    for key in ("bos_token_id", "eos_token_id"):
        ours, theirs = (_effective(side, key) for side in (fp16, exl2))
        if ours != theirs:
            lost = (
                f" ({len(ours) - len(theirs)} fewer)"
                if key.startswith("eos") and len(theirs) < len(ours)
                else ""
            )
            seen.append(f"{key}: FP16 {ours or 'none'}, EXL2 {theirs or 'none'}{lost}")
            values[key] = ours[0] if len(ours) == 1 else ours
    if seen:
        patch = json_patch("generation_config.json", values)
        return failed("same_special_tokens", f"Start or end tokens differ: {'; '.join(seen)}.", patch)
    ends = _effective(exl2, "eos_token_id")
    return passed(
        "same_special_tokens", f"Start and end tokens are the same on both sides (end: {ends or 'none'})."
    )


def _end_token_list(exl2: Side) -> Finding:
    every = sorted({i for ids in end_tokens(exl2).values() for i in ids})
    kept = _ids(exl2.config.get("eos_token_id"))[:1]
    if len(every) > len(kept) and every:
        seen = f"The end tokens are {every}; from config.json the library keeps {kept or 'none'}."
        return warned("end_token_list", seen, server_patch({"stop_conditions": every}))
    return passed(
        "end_token_list", f"There is one end token: {every[0]}." if every else "No end token is set."
    )


def _effective(side: Side, key: str) -> list[int]:
    """Ids in force: those of the generation settings where it has them, else the configuration's."""
    value = side.generation_file.data.get(key)
    return sorted(set(_ids(side.config.get(key) if value is None else value)))


def _ids(value: Any) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [v for v in listed if isinstance(v, int) and not isinstance(v, bool)]


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], keys: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """Values stated on both sides and not equal; what a side leaves out has the same default for both."""
    pairs = {key: (ours.get(key), theirs.get(key)) for key in keys}
    return {k: (a, b) for k, (a, b) in pairs.items() if a is not None and b is not None and not _same(a, b)}


def _same(a: Any, b: Any) -> bool:
    x, y = number(a), number(b)
    # A number written in fp32 and read back differs in its last digits.
    return a == b if x is None or y is None else abs(x - y) <= 1e-6 * max(abs(x), abs(y))


def _told(differing: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{key}: FP16 {a}, EXL2 {b}" for key, (a, b) in differing.items()) + "."


def _config_patch(differing: Mapping[str, tuple[Any, Any]]) -> Patch | None:
    return json_patch("config.json", {key: a for key, (a, _) in differing.items()})


def _rope_values(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be set for EXL2 to read positions as FP16 does; None takes a key away."""
    stated = top_level(ours)
    wanted = {
        "rope_theta": None,
        "rope_scaling": None,
        "rope_parameters": ours.get("rope_parameters"),
        **stated,
    }
    if theirs.get("rope_parameters") is None:
        wanted.pop("rope_parameters")
    # The same in other words: `type` for `rope_type`, 1.0 for nothing.
    if applied(library_scaling(theirs)) == applied(scaling(ours)) and scaling(
        {**theirs, "rope_parameters": wanted.get("rope_parameters")}
    ) == scaling(ours):
        wanted.pop("rope_scaling")
    if _same(wanted.get("partial_rotary_factor", LIBRARY_SHARE), library_share(theirs)):
        wanted.pop("partial_rotary_factor", None)
    return {k: v for k, v in wanted.items() if theirs.get(k) != v}


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in settings.items()) or "none"


def _first(value: Any) -> str | None:
    return str(value[0]) if isinstance(value, list) and value else None
