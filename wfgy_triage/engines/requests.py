"""Requests that cannot be run are refused here, before anything is computed; the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence

from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.errors import InputError


def check_tokens(request_id: str, ids: Sequence[int], vocab_size: int) -> None:
    """Refuse an empty sequence and ids outside the vocabulary.

    Raises:
        InputError: names the request.
    """
    if not ids:
        raise InputError(f"Request {request_id!r} has no tokens.", "Give it a prompt.")
    if min(ids) < 0 or max(ids) >= vocab_size:
        raise InputError(
            f"Request {request_id!r} has a token id outside the vocabulary of {vocab_size}.",
            "Encode the text with this model's own tokenizer.",
        )


def check_generation(requests: Sequence[GenerationRequest], vocab_size: int, max_context: int) -> None:
    """Refuse requests for text that cannot be run.

    Raises:
        InputError: names the request.
    """
    ids = [r.id for r in requests]
    if len(set(ids)) != len(ids):
        raise InputError("Two requests of one call have the same id.", "Give every request its own id.")
    for request in requests:
        check_tokens(request.id, request.prompt_ids, vocab_size)
        if request.max_new_tokens < 1:
            raise InputError(f"Request {request.id!r} asks for no new tokens.", "Ask for at least one.")
        if request.temperature < 0 or not 0 < request.top_p <= 1:
            raise InputError(
                f"Request {request.id!r} has temperature {request.temperature} and top_p {request.top_p}.",
                "The temperature must be 0 or more, top_p above 0 and at most 1.",
            )
        _check_sampler(request)
        total = len(request.prompt_ids) + request.max_new_tokens
        if total > max_context:
            raise InputError(
                f"Request {request.id!r} needs {total} tokens with its answer, the model's context has"
                f" {max_context}.",
                "Shorten the prompt or ask for fewer new tokens.",
            )


def _check_sampler(request: GenerationRequest) -> None:
    found = request.sampler
    if found.top_k < 0 or not 0 <= found.min_p <= 1 or not 0 < found.typical_p <= 1:
        raise InputError(
            f"Request {request.id!r} has top_k {found.top_k}, min_p {found.min_p} and typical_p {found.typical_p}.",
            "top_k must be 0 or more, min_p 0 to 1, typical_p above 0 and at most 1.",
        )
    if not found.repetition_penalty > 0:
        raise InputError(
            f"Request {request.id!r} has the repetition penalty {found.repetition_penalty}.",
            "It must be above 0; 1 switches it off.",
        )


def check_scoring(requests: Sequence[ScoreRequest], chunk: int, vocab_size: int, max_context: int) -> None:
    """Refuse sequences that cannot be scored.

    Raises:
        InputError: names the request.
    """
    for request in requests:
        check_tokens(request.id, request.token_ids, vocab_size)
        if not 1 <= request.first < len(request.token_ids):
            raise InputError(
                f"Request {request.id!r} scores from position {request.first} of {len(request.token_ids)}.",
                "Score from position 1 or later, and at least one position.",
            )
        if len(request.token_ids) > max_context:
            raise InputError(
                f"Request {request.id!r} has {len(request.token_ids)} tokens, the model's context {max_context}.",
                "Score a shorter sequence.",
            )
    if chunk < 1:
        raise InputError(f"A chunk of {chunk} positions is not possible.", "Use 1 or more.")


def check_texts(sequences: Sequence[Sequence[int]], max_context: int) -> None:
    """Refuse texts that cannot be embedded.

    Raises:
        InputError: an empty text, or one longer than the context; names it by number.
    """
    for number, ids in enumerate(sequences):
        if not 1 <= len(ids) <= max_context:
            raise InputError(
                f"Text {number} has {len(ids)} tokens.", f"Embed texts of 1 to {max_context} tokens."
            )


def check_layers(layers: Sequence[int], last: int) -> None:
    """Refuse layers that the model does not have.

    Raises:
        InputError: names the first of them.
    """
    for layer in layers:
        if not 0 <= layer <= last:
            raise InputError(f"There is no layer {layer}.", f"Layers of this model: 0 to {last}.")
