"""Rung 4 and the first part of 7: what the loaded models do with the same text."""

from __future__ import annotations

import time
from collections.abc import Sequence

from wfgy_triage.doctor.finding import Finding, failed, in_order, passed, skipped, warned
from wfgy_triage.doctor.samples import CHATS, SAMPLES
from wfgy_triage.doctor.served import check_served, no_boot
from wfgy_triage.engines.base import Engine, GenerationRequest
from wfgy_triage.engines.caches import EXACT
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.in_turn import load_now
from wfgy_triage.errors import TriageError

WARM_UP_TOKENS = 12
SLOW_START_FACTOR, SLOW_START_SECONDS = 3.0, 0.5
"""A first call is worth a warning from this many times the second one, and this many seconds more, on."""


def check_engines(fp16: Engine, exl2: Engine) -> tuple[Finding, ...]:
    """Compare the two loaded models, in the order of the ladder."""
    if fp16.capabilities.served or exl2.capabilities.served:
        return check_served(fp16, exl2)
    return in_order(
        (
            passed(
                "models_load", f"FP16 on {fp16.info.engine}, EXL2 on {exl2.info.engine}, {exl2.info.device}."
            ),
            _token_ids(fp16, exl2),
            _chat_template(fp16, exl2),
            _causality(fp16, exl2),
            _only_weights(fp16, exl2),
            _cache(exl2),
            no_boot(),
        )
    )


def check_first_answer(exl2: Engine) -> Finding:
    """Time the first answer of this process against the same answer once more; a warning at most."""
    if not exl2.capabilities.generate:
        return skipped("first_answer", "The EXL2 side does not generate here.")
    load_now(exl2)
    first, second = (_seconds_to_answer(exl2, number) for number in range(2))
    seen = f"First answer of {WARM_UP_TOKENS} tokens {first:.2f} s, second {second:.2f} s."
    slow = first > SLOW_START_FACTOR * second and first - second > SLOW_START_SECONDS
    return (warned if slow else passed)("first_answer", seen)


def _seconds_to_answer(engine: Engine, number: int) -> float:
    text = "Once upon a time there was a small machine that"
    prompt = engine.encode(text)
    request = GenerationRequest(f"warm-up-{number}", prompt, WARM_UP_TOKENS, messages=(("user", text),))
    began = time.monotonic()
    for _ in engine.generate([request]):
        pass
    return time.monotonic() - began


def _token_ids(fp16: Engine, exl2: Engine) -> Finding:
    for text in SAMPLES:
        if fp16.encode(text) != exl2.encode(text):
            return failed(
                "loaded_token_ids", f"The text {text[:40]!r} gets different token ids from the two models."
            )
    return passed("loaded_token_ids", f"{len(SAMPLES)} sample texts get the same token ids from both models.")


def _chat_template(fp16: Engine, exl2: Engine) -> Finding:
    rendered = [_rendered(engine, CHATS[0]) for engine in (fp16, exl2)]
    if rendered[0] is None and rendered[1] is None:
        return skipped("loaded_chat_template", "Neither model has a chat template.")
    if rendered[0] != rendered[1]:
        return failed("loaded_chat_template", "The loaded models frame the same conversation differently.")
    return passed("loaded_chat_template", "Both loaded models frame a sample conversation the same way.")


def _rendered(engine: Engine, chat: Sequence[dict[str, str]]) -> str | None:
    try:
        return engine.render_chat(chat)
    except TriageError:
        return None


def _causality(fp16: Engine, exl2: Engine) -> Finding:
    # EXL2 first: where the two take turns in memory, it is the one that is loaded, and FP16 the one that is asked next.
    sides = {"EXL2": exl2, "FP16": fp16}
    moved = {name: (engine, future_effect(engine)) for name, engine in sides.items()}
    guilty = [name for name in ("FP16", "EXL2") if sees_the_future(*moved[name])]
    if guilty:
        return failed(
            "causal_attention",
            f"Changing a later word moves earlier predictions on {' and '.join(guilty)} "
            f"(by up to {max(moved[name][1] for name in guilty):.1%} of their size): attention sees the future.",
        )
    return passed("causal_attention", "Changing a later word leaves earlier predictions as they are.")


def _only_weights(fp16: Engine, exl2: Engine) -> Finding:
    """Rung 7: decoded weights run in the very code that runs the baseline."""
    facts = [(_version(e), e.info.device, e.info.compute_dtype, e.info.mode) for e in (fp16, exl2)]
    if facts[0] == facts[1]:
        return passed(
            "only_weights_differ",
            "Both sides run in the same engine code with the same numerics and greedy decoding.",
        )
    return warned(
        "only_weights_differ",
        "The two sides run in different engines or numerics; that is not held fixed.",
    )


def _version(engine: Engine) -> str:
    """The engine without its cache, which has a line of its own."""
    return engine.info.engine_version.replace(f"{engine.info.cache} cache", "")


def _cache(exl2: Engine) -> Finding:
    """Before rung 9: whether there is a rounding between two tokens that FP16 does not have."""
    kind = exl2.info.cache
    if kind == EXACT:
        return passed("cache_unrounded", "The EXL2 side keeps keys and values as they are computed.")
    return warned("cache_unrounded", f"The EXL2 side keeps keys and values in a {kind} cache.")
