"""Answers from exllamav2's dynamic generator: jobs in, completions out, stopped within a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from wfgy_triage.engines.base import NEUTRAL, Completion, FinishReason, GenerationRequest
from wfgy_triage.engines.exllamav2_filter import TokenChooser, filter_class
from wfgy_triage.engines.exllamav2_library import Library, stream_kept
from wfgy_triage.engines.grammar import GrammarCompiler
from wfgy_triage.engines.requests import check_generation
from wfgy_triage.engines.text import first_stop
from wfgy_triage.engines.warping import refuse_server_settings
from wfgy_triage.errors import ProbeError

MAX_JOBS = 16
"""Answers in the making at a time, where attention is paged; else the library makes one."""
STARTING_JOBS = 2
"""Prompts that are read at a time. The generator reads a chunk of each in one step, and a step cannot be stopped."""
FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop_token": "stop",
    "end_filter": "stop",
    "stop_string": "stop_string",
    "max_new_tokens": "length",
}
"""The library's `eos_reason` in this project's words."""


@dataclass(frozen=True)
class JobContext:
    """What the jobs of one engine share.

    Attributes:
        library: the imported library.
        model: the loaded `ExLlamaV2`.
        tokenizer: its `ExLlamaV2Tokenizer`.
        generator: its `ExLlamaV2DynamicGenerator`.
        decode: token ids to text, special tokens kept out.
        end_ids: any of these ends an answer.
        vocab_size: token ids that mean something.
        max_context: most tokens of prompt and answer together.
        grammars: gives the compiler of grammars.
    """

    library: Library
    model: Any
    tokenizer: Any
    generator: Any
    decode: Callable[[Sequence[int]], str]
    end_ids: frozenset[int]
    vocab_size: int
    max_context: int
    grammars: Callable[[], GrammarCompiler]


@dataclass
class _Answer:
    """One answer in the making."""

    request: GenerationRequest
    chooser: TokenChooser | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    started: bool = False

    def take(self, result: Mapping[str, Any], vocab_size: int) -> None:
        """Add the tokens (1, n) of a result, and their log-probabilities from its logits (1, n, padded vocab)."""
        if "token_ids" not in result:
            return
        tokens, logits = result["token_ids"][0], result["logits"][0]
        normalizer = logits[:, :vocab_size].logsumexp(-1)
        if not bool(torch.isfinite(normalizer).all()):
            raise ProbeError(
                "The engine exllamav2 gave logits that are not finite numbers.",
                "Check the model folder with 'python -m wfgy_triage inspect'. If the weights are sound, 16-bit numbers "
                "overflow in this model's attention: try flash-attn.",
            )
        self.tokens += tokens.tolist()
        self.logprobs += (logits.gather(1, tokens[:, None])[:, 0] - normalizer).tolist()

    def finished(self, result: Mapping[str, Any], context: JobContext) -> Completion:
        """The completion, from the last result of the job."""
        # What was held back for a possible stop string or half a character, and the end token itself.
        self.take(result.get("held", {}), context.vocab_size)
        reason = finish_reason(
            str(result.get("eos_reason")), self.chooser is not None and self.chooser.complete
        )
        if result.get("eos_reason") == "stop_token":
            self.tokens.pop()
            self.logprobs.pop()
        text = context.decode(self.tokens)
        at = first_stop(text, self.request.stop_strings)
        if reason == "length" and at >= 0:
            # The library looks at the budget first, so a stop string in the very last token is left to us.
            reason = "stop_string"
        if reason == "stop_string":
            # Where our decoding writes the stop string differently, the library's text ends before it.
            text = text[:at] if at >= 0 else str(result.get("full_completion", ""))
        return Completion(self.request.id, text, tuple(self.tokens), tuple(self.logprobs), reason)


def finish_reason(eos_reason: str, grammar_complete: bool) -> FinishReason:
    """This project's word for the library's.

    Args:
        eos_reason: as the library gives it.
        grammar_complete: nothing could follow, so that a full budget cut nothing off.

    Raises:
        ProbeError: a reason that is not known.
    """
    if eos_reason not in FINISH_REASONS:
        raise ProbeError(
            f"exllamav2 ended an answer for a reason that is not known here: {eos_reason}.",
            "Use exllamav2 0.3.2, or report this.",
        )
    reason = FINISH_REASONS[eos_reason]
    return "stop" if reason == "length" and grammar_complete else reason


class AnswerLoop:
    """Completes requests on one engine. One call at a time: the generator's steps serve all its jobs.

    Args:
        context: the loaded parts.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._filter = filter_class(context.library.filter)
        self._busy = False

    def run(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Yield completions as they finish; see `Engine.generate`.

        Raises:
            InputError: a request cannot be run; raised before anything is computed.
            ProbeError: logits that are no numbers, a grammar that leaves no token, or another call still runs.
        """
        context = self._context
        check_generation(requests, context.vocab_size, context.max_context)
        refuse_server_settings(requests)
        # Neighbours share most of their prompts, and the library computes a shared beginning once.
        ordered = sorted(requests, key=lambda r: r.prompt_ids)
        answers = [_Answer(r, self._chooser(r)) for r in ordered]
        return self._run(deque(answers), should_stop or (lambda: False))

    def _chooser(self, request: GenerationRequest) -> TokenChooser | None:
        if request.grammar is None and request.temperature == 0 and request.sampler == NEUTRAL:
            return None
        context = self._context
        return TokenChooser(request, context.grammars, context.end_ids, context.vocab_size)

    def _run(self, waiting: deque[_Answer], should_stop: Callable[[], bool]) -> Iterator[Completion]:
        if self._busy:
            raise ProbeError(
                "The exllamav2 engine is still answering an earlier call.", "Finish that call first."
            )
        generator, live = self._context.generator, dict[str, _Answer]()
        self._busy = True
        try:
            while (waiting or live) and not should_stop():
                self._start(waiting, live)
                with stream_kept():
                    results = generator.iterate()
                for result in results:
                    if result.get("stage") != "streaming":
                        continue
                    answer = live[result["identifier"]]
                    answer.started = True
                    answer.take(result, self._context.vocab_size)
                    if result["eos"]:
                        del live[answer.request.id]
                        yield answer.finished(result, self._context)
        finally:
            # Also after an error or an abandoned call: no job of it may use the GPU or the cache any longer.
            generator.clear_queue()
            self._busy = False

    def _start(self, waiting: deque[_Answer], live: dict[str, _Answer]) -> None:
        """Hand the generator more work, a few prompts at a time."""
        starting = sum(not answer.started for answer in live.values())
        while waiting and len(live) < MAX_JOBS and starting < STARTING_JOBS:
            answer = waiting.popleft()
            live[answer.request.id] = answer
            self._context.generator.enqueue(self._job(answer))
            starting += 1

    def _job(self, answer: _Answer) -> Any:
        """The library's job: token ids as they are, neutral greedy sampling, every end token, its own seed."""
        context, request = self._context, answer.request
        filters = []
        if answer.chooser is not None:
            filters = [self._filter(context.model, context.tokenizer, answer.chooser)]
        return context.library.job(
            input_ids=torch.tensor([request.prompt_ids], dtype=torch.long),
            max_new_tokens=request.max_new_tokens,
            gen_settings=context.library.sampler.Settings.greedy(),
            seed=request.seed,
            stop_conditions=[*sorted(context.end_ids), *filter(None, request.stop_strings)],
            return_logits=True,
            filters=filters,
            identifier=request.id,
        )
