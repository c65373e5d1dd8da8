"""The sampling settings that a model folder suggests: its generation_config.json, as transformers reads it. No torch.

What the file leaves out has transformers' default; the only one that matters is `top_k`, which is 50 for answers that
are drawn. Without `do_sample` the likeliest word is taken each time, and of all settings the repetition penalty alone
has an effect. A setting that cannot be followed here is an error that names it, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.engines.base import NEUTRAL, Sampler
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair

FILE = "generation_config.json"
DEFAULTS: Mapping[str, float] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
}
"""What transformers 5 takes for a setting that the file leaves out (`GenerationMixin.generate`)."""
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (1e-6, 100.0),
    "top_k": (0, 1_000_000),
    "top_p": (1e-6, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (1e-6, 1.0),
    "repetition_penalty": (1e-6, 100.0),
}
_NO_SAMPLING = frozenset({
    "_from_model_config", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id",
    "decoder_start_token_id", "max_length", "max_new_tokens", "max_time", "stop_strings", "use_cache",
    "cache_implementation", "cache_config", "max_cache_len", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits", "return_dict_in_generate", "num_return_sequences", "renormalize_logits",
    "remove_invalid_values", "early_stopping", "length_penalty", "chat_format", "compile_config", "disable_compile",
    "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "assistant_lookbehind", "target_lookbehind", "prompt_lookup_num_tokens", "prefill_chunk_size", "token_healing",
})  # fmt: skip
"""Keys with no part in which word is chosen: tokens, lengths, caches, outputs, speed, and what only beams use."""
_OFF: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,), "num_beam_groups": (1,), "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,), "diversity_penalty": (0,), "epsilon_cutoff": (0,), "eta_cutoff": (0,),
    "guidance_scale": (1,), "min_length": (0,), "min_new_tokens": (0,), "presence_penalty": (0,),
    "frequency_penalty": (0,), "dola_layers": (), "use_mtp": (False,),
}  # fmt: skip
"""Values at which a setting that cannot be followed does nothing."""
_DRAWN_ALONE = frozenset({"epsilon_cutoff", "eta_cutoff", "top_h"})
"""Keys that cannot be followed, and act only where words are drawn (`GenerationMixin._get_logits_processor`)."""


@dataclass(frozen=True)
class Sampling:
    """How one side is asked: temperature 0 takes the likeliest word each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    sampler: Sampler = NEUTRAL

    @property
    def drawn(self) -> bool:
        """Whether chance has a part in the answers, as far as is known."""
        return self.temperature > 0 or self.sampler.server_own

    @property
    def words(self) -> str:
        """The settings in a few words, those that do nothing left out."""
        if self.sampler.server_own:
            own = "the server's own settings"
            return f"{own}, but temperature {self.temperature:g}" if self.temperature else own
        found = [f"temperature {self.temperature:g}" if self.temperature else "the likeliest word each time"]
        found += [f"{name} {value:g}" for name, value in self.values().items() if value != _NOTHING[name]]
        return ", ".join(found)

    def values(self) -> dict[str, float]:
        """The settings besides the temperature, by transformers' names."""
        rest = {name: value for name, value in asdict(self.sampler).items() if name != "server_own"}
        return {"top_p": self.top_p, **rest}

    def to_json(self) -> dict[str, Any]:
        """The plain form in which an answer carries it."""
        own = {"server_own": True} if self.sampler.server_own else {}
        return {"temperature": self.temperature, **self.values(), **own}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sampling:
        """The inverse of `to_json`."""
        rest = {k: v for k, v in data.items() if k not in ("temperature", "top_p")}
        return cls(data["temperature"], data["top_p"], Sampler(**rest))


GREEDY = Sampling()
"""How questions are asked unless a run wants something else: neutral, no chance in it."""
SERVER_OWN = Sampling(sampler=Sampler(server_own=True))
_NOTHING = GREEDY.values()


@dataclass(frozen=True)
class SidesSampling:
    """How each side of a pair is asked."""

    fp16: Sampling
    exl2: Sampling


def suggested_by(pair: Pair) -> SidesSampling:
    """What each folder of a pair suggests; a side on a server draws as the server is set up.

    Raises:
        PrerequisiteError: a folder suggests what cannot be followed here; names the settings.
    """
    sides = (("fp16", pair.fp16), ("exl2", pair.exl2))
    return SidesSampling(*(SERVER_OWN if s in pair.served else _of_folder(s.upper(), f) for s, f in sides))


def _of_folder(name: str, folder: Path) -> Sampling:
    path = folder / FILE
    if not path.is_file():
        return GREEDY
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PrerequisiteError(
            f"generation_config.json of the {name} folder cannot be read.", _HINT
        ) from error
    return suggested(data if isinstance(data, dict) else {}, name)


_HINT = "Correct the file, or ask with neutral settings (sampling=neutral)."


def suggested(data: Mapping[str, Any], name: str) -> Sampling:
    """What the contents of a generation_config.json suggest.

    Args:
        data: the JSON object.
        name: `FP16` or `EXL2`, for the messages.

    Raises:
        PrerequisiteError: it suggests what cannot be followed here, or a value that is not possible; names it.
    """
    if unknown := not_followed(data):
        told = ", ".join(f"{key} {json.dumps(data[key])[:60]}" for key in unknown)
        raise PrerequisiteError(
            f"generation_config.json of the {name} folder sets what cannot be followed here: {told}.",
            "Take these settings out of the file, or ask with neutral settings (sampling=neutral).",
        )
    values = {key: _number(data, key, name) for key in DEFAULTS}
    if data.get("do_sample") is not True:
        return Sampling(sampler=Sampler(repetition_penalty=values["repetition_penalty"]))
    return Sampling(
        values["temperature"],
        values["top_p"],
        Sampler(int(values["top_k"]), values["min_p"], values["typical_p"], values["repetition_penalty"]),
    )


def not_followed(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of a generation_config.json that have a part in which word is chosen, and that are not followed here."""
    known = _NO_SAMPLING | DEFAULTS.keys() | {"do_sample"}
    if data.get("do_sample") is not True:
        known |= _DRAWN_ALONE
    return tuple(
        key
        for key, value in data.items()
        if key not in known and value not in (None, [], {}, *_OFF.get(key, ()))
    )


def _number(data: Mapping[str, Any], key: str, name: str) -> float:
    value = data.get(key)
    if value is None:
        return DEFAULTS[key]
    low, high = _RANGES[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Without drawing transformers passes over everything but the penalty, impossible values too.
    passed_over = data.get("do_sample") is not True and key != "repetition_penalty"
    if passed_over:
        return DEFAULTS[key]
    if not number or not low <= value <= high or (key == "top_k" and value != int(value)):
        raise PrerequisiteError(
            f"generation_config.json of the {name} folder has {key} {json.dumps(value)[:60]}, which is not possible.",
            _HINT,
        )
    return float(value)
