"""The rotary position encoding in a config.json: what the model was trained with, and what exllamav2 reads of it.

transformers 5 saves base, scaling and rotated share in `rope_parameters`; exllamav2 looks for each at the top level.
Settings that differ by type of layer (Gemma 3) are told apart (`by_layer_type`) and not read any further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIBRARY_THETA = 10000.0
"""What exllamav2 uses when config.json has no top-level rope_theta."""
LIBRARY_SHARE = 1.0
"""What exllamav2 uses when config.json has no top-level partial_rotary_factor."""
ORIGINAL_CONTEXT = "original_max_position_embeddings"
LONGROPE = ("longrope", "su")
"""Two names of one kind of scaling."""
LAYER_TYPES = ("full_attention", "sliding_attention")
"""What `rope_parameters` has settings under where they differ by type of layer."""


@dataclass(frozen=True)
class LibraryScaling:
    """How exllamav2 applies a kind of scaling (its config.py, `prepare`).

    Attributes:
        method: its `alt_rope_method`; None for none.
        fields: the field of its configuration by the setting of `rope_scaling` that it takes.
        beside: the same for what it looks for beside `rope_scaling`, at the top level.
    """

    method: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)


_SU = LibraryScaling(
    "su",
    {"scale_long_factor": "long_factor", "scale_short_factor": "short_factor"},
    {"original_max_seq_len": ORIGINAL_CONTEXT},
)
LIBRARY_SCALINGS: Mapping[str, LibraryScaling] = {
    "default": LibraryScaling(),
    "mrope": LibraryScaling(),
    "linear": LibraryScaling(None, {"scale_pos_emb": "factor"}),
    **dict.fromkeys(LONGROPE, _SU),
    "yarn": LibraryScaling(
        "yarn",
        {"yarn_rope_factor": "factor", "yarn_rope_original_max_position_embeddings": ORIGINAL_CONTEXT},
    ),
    "llama3": LibraryScaling(
        "llama3",
        {
            "l3_rope_factor": "factor",
            "l3_rope_low_freq_factor": "low_freq_factor",
            "l3_rope_high_freq_factor": "high_freq_factor",
            "l3_rope_original_max_position_embeddings": ORIGINAL_CONTEXT,
        },
    ),
}
"""Kinds of scaling that exllamav2 applies to text (`mrope` is about images); it ignores any other without a word."""


def by_layer_type(config: Mapping[str, Any]) -> bool:
    """Whether positions have other settings in sliding layers than in global ones, as in Gemma 3."""
    text = config.get("text_config")
    return any(
        c.get("rope_local_base_freq") is not None or any(name in _nested(c) for name in LAYER_TYPES)
        for c in (config, text if isinstance(text, Mapping) else {})
    )


def scaled_apart(config: Mapping[str, Any], context: int | None) -> str:
    """How exllamav2 0.3.2 applies a configuration's scaling otherwise than transformers does; empty where it does not.

    Args:
        config: as stored.
        context: the most tokens that the library is opened for; None where it is not known.
    """
    return yarn_apart(config, context) or longrope_apart(config, context)


def longrope_apart(config: Mapping[str, Any], context: int | None) -> str:
    """The same for longrope, which is also called su.

    Its rope.py chooses between short and long factors once, by the context it is opened for, and works the attention
    factor out from that context too. transformers chooses by the length of each text, and its attention factor is the
    same for all of them: that of the longest context in config.json.

    Args:
        config: as stored.
        context: the most tokens that the library is opened for; None where it is not known.
    """
    found = scaling(config)
    if found.get("type") not in LONGROPE:
        return ""
    longest = number(config.get("max_position_embeddings"))
    original = number(config.get(ORIGINAL_CONTEXT)) or number(found.get(ORIGINAL_CONTEXT))
    reach = longest if context is None else float(context)
    if original is None or longest is None or reach is None:
        return "exllamav2 applies longrope scaling otherwise than transformers does."
    trained = number(found.get("attention_factor"))
    if trained is None:
        trained = _attention_factor(number(found.get("factor")) or longest / original, original)
    if reach > original:
        return (
            f"In a context of {reach:.0f} tokens exllamav2 takes the long factors of longrope for every text, and the "
            f"attention factor {_attention_factor(reach / original, original):.4g}; transformers takes the short ones "
            f"for texts of no more than {original:.0f} tokens, and the attention factor {trained:.4g}."
        )
    if trained == 1.0:
        return ""
    return (
        f"In a context of {reach:.0f} tokens exllamav2 leaves the attention factor of longrope out; transformers "
        f"applies {trained:.4g} to every text."
    )


def _attention_factor(factor: float, original: float) -> float:
    return math.sqrt(1.0 + math.log(factor) / math.log(original)) if factor > 1.0 else 1.0


def yarn_apart(config: Mapping[str, Any], context: int | None) -> str:
    """How exllamav2 0.3.2 applies yarn otherwise than transformers does; empty where a configuration has no yarn.

    Its rope.py leaves yarn out altogether in a context of no more than the original length, where transformers applies
    it to every text. In a longer one it takes the limits of its ramp from that context instead of the original one,
    and looks at none of `attention_factor`, `mscale`, `beta_fast` and `beta_slow`.

    Args:
        config: as stored.
        context: the most tokens that the library is opened for; None where it is not known.
    """
    found = scaling(config)
    if found.get("type") != "yarn":
        return ""
    longest = number(config.get("max_position_embeddings"))
    original = number(found.get(ORIGINAL_CONTEXT)) or longest
    reach = longest if context is None else float(context)
    if original is None or reach is None:
        return "exllamav2 applies yarn scaling otherwise than transformers does."
    if reach <= original:
        return (
            f"In a context of {reach:.0f} tokens exllamav2 leaves yarn scaling out, since the original context has "
            f"{original:.0f}; transformers applies it, attention factor included, to every text."
        )
    return (
        f"In a context of {reach:.0f} tokens exllamav2 works the limits of yarn scaling out from these instead of the "
        f"original {original:.0f}, so that it may scale other frequencies than transformers."
    )


def rope_theta(config: Mapping[str, Any]) -> float | None:
    """The base of the rotary encoding: top level in older configurations, in `rope_parameters` in newer ones."""
    top = number(config.get("rope_theta"))
    return nested_theta(config) if top is None else top


def nested_theta(config: Mapping[str, Any]) -> float | None:
    """The base in `rope_parameters`, where transformers looks first and exllamav2 does not look at all."""
    return number(_nested(config).get("rope_theta"))


def rotated_share(config: Mapping[str, Any]) -> float | None:
    """The share of each head that is rotated, wherever it is stated; None where it is not."""
    top = number(config.get("partial_rotary_factor"))
    return number(_nested(config).get("partial_rotary_factor")) if top is None else top


def library_share(config: Mapping[str, Any]) -> float:
    """The share of each head that exllamav2 rotates."""
    top = number(config.get("partial_rotary_factor"))
    return LIBRARY_SHARE if top is None else top


def scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling in one form, empty for none; older configurations have `rope_scaling`, newer `rope_parameters`."""
    blocks = [config.get(key) for key in ("rope_scaling", "rope_parameters")]
    found = [b for b in blocks if isinstance(b, Mapping)]
    kinds = [b.get("rope_type") or b.get("type") for b in found]
    kind = next((k for k in kinds if k), "default")
    settings = {k: v for block in reversed(found) for k, v in block.items()}
    for name in ("rope_theta", "rope_type", "type", "partial_rotary_factor"):
        settings.pop(name, None)
    return {} if kind == "default" else {"type": kind, **settings}


def library_scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling that exllamav2 reads: that of the top-level `rope_scaling` alone."""
    return scaling({"rope_scaling": config.get("rope_scaling")})


def applied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What exllamav2 applies of a scaling: the kind and the settings that it looks at; empty for none.

    Args:
        settings: as `scaling` gives them.
    """
    kind = str(settings.get("type", "default"))
    used = LIBRARY_SCALINGS.get(kind, LibraryScaling()).fields.values()
    return {"type": kind, **{key: settings.get(key) for key in used}} if used else {}


def top_level(config: Mapping[str, Any]) -> dict[str, Any]:
    """The position settings of a configuration as exllamav2 looks for them; what is not stated is left out."""
    kind = scaling(config)
    read = LIBRARY_SCALINGS.get(str(kind.get("type")), LibraryScaling())
    found: dict[str, Any] = {
        "rope_theta": rope_theta(config),
        "partial_rotary_factor": rotated_share(config),
        "rope_scaling": {"rope_type" if k == "type" else k: v for k, v in kind.items()} or None,
    }
    for key in read.beside.values():
        found[key] = config.get(key) or kind.get(key)
    return {key: value for key, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """A JSON number as a float; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _nested(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("rope_parameters")
    return nested if isinstance(nested, Mapping) else {}
