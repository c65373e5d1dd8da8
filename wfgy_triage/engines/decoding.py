"""The generation loop: batched, with the shared prefix computed once and finished rows leaving the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch

from wfgy_triage.engines.base import NEUTRAL, Completion, GenerationRequest
from wfgy_triage.engines.batching import (
    SharingGroup,
    by_length,
    shared_prefix,
    sharing_groups,
    waves,
)
from wfgy_triage.engines.decoding_options import DecodingOptions
from wfgy_triage.engines.drafts import WIDTHS, Follower, pass_width
from wfgy_triage.engines.grammar import GrammarCompiler, GrammarState
from wfgy_triage.engines.interrupting import until_broken_off
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.prompts import batches, compute, remember
from wfgy_triage.engines.requests import check_generation
from wfgy_triage.engines.rows import AnswerRow
from wfgy_triage.engines.runner import ModelRunner
from wfgy_triage.engines.sampling import Choice, greedy, sample
from wfgy_triage.engines.storage import PrefixGroup, PrefixKV, SegmentedCache
from wfgy_triage.engines.text import TextStream
from wfgy_triage.engines.warping import choose, refuse_server_settings
from wfgy_triage.errors import InputError, ProbeError

# Two candidates closer than this (in logits) are decided by a pass over the row alone. Rounding moves fp32 logits
# by less than a tenth of it, whatever the batch; see tests/engines/test_reproducible.py.
NEAR_TIE = 1e-3
# Free slots of the storage behind the prompts; it grows when an answer needs more.
_HEADROOM = 64
# Rows of logits looked at together: few enough to stay in the processor's caches between passes.
_BLOCK_ROWS = 8


class Decoder:
    """Completes requests on one model, in one call.

    Args:
        runner: the model.
        decode: token ids to text, special tokens kept out.
        eos_ids: any of these ends an answer.
        max_context: most tokens of prompt and answer together.
        options: see `DecodingOptions`.
        grammars: gives the compiler of grammars when a request needs it; None where there is none.
    """

    def __init__(
        self,
        runner: ModelRunner,
        decode: Callable[[Sequence[int]], str],
        eos_ids: frozenset[int],
        max_context: int,
        options: DecodingOptions,
        grammars: Callable[[], GrammarCompiler] | None = None,
    ) -> None:
        self._runner, self._decode, self._eos = runner, decode, eos_ids
        self._max_context, self._options, self._grammars = max_context, options, grammars
        self._should_stop: Callable[[], bool] = lambda: False

    def run(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Yield completions as they finish.

        Raises:
            InputError: a request cannot be run; raised before anything is computed.
            ProbeError: the model gave logits that are not numbers, or a grammar leaves no token.
        """
        check_generation(requests, self._runner.vocab_size, self._max_context)
        refuse_server_settings(requests)
        for request in requests:
            self._start_grammar(request)
        self._should_stop = should_stop or self._should_stop
        return until_broken_off(self._run(requests))

    def _run(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        if not requests:
            return
        prompts = [r.prompt_ids for r in requests]
        groups = [SharingGroup(tuple(by_length([len(p) for p in prompts])), 0)]
        if self._options.share_prefix:
            groups = sharing_groups(prompts)
        common = self._common_prefix(groups, prompts)
        rows = [(group, i) for group in groups for i in group.members]
        widths = [len(prompts[i]) - group.shared + requests[i].max_new_tokens for group, i in rows]
        for wave in waves(widths, self._runner.kv_shape.bytes_per_token, self._options.kv_budget_bytes):
            members = [rows[w] for w in wave]
            shared = [
                self._prefix_group(g, list(m), prompts, common)
                for g, m in groupby(members, key=lambda m: m[0])
            ]
            lengths = [len(prompts[i]) - group.shared for group, i in members]
            cache = SegmentedCache(self._runner.kv_shape, lengths, max(lengths) + _HEADROOM, shared)
            cache.length = max(lengths)
            yield from self._wave([self._row(requests[i]) for _, i in members], cache)
            if self._should_stop():
                return

    @torch.inference_mode()
    def _prefix_group(
        self,
        group: SharingGroup,
        members: Sequence[tuple[SharingGroup, int]],
        prompts: Sequence[tuple[int, ...]],
        common: PrefixKV | None,
    ) -> PrefixGroup:
        """Compute what the members of a group share, behind what all groups share."""
        shared = prompts[members[0][1]][: group.shared]
        behind = common if group.shared else None
        return PrefixGroup(len(members), self._runner.prefix(shared, behind, self._should_stop))

    @torch.inference_mode()
    def _common_prefix(
        self, groups: Sequence[SharingGroup], prompts: Sequence[tuple[int, ...]]
    ) -> PrefixKV | None:
        """Compute the beginning that all groups with a prefix have in common, when there are several of them."""
        beginnings = [prompts[g.members[0]][: g.shared] for g in groups if g.shared]
        # One prefix may be the beginning of another: the mark at the end lets it count in full.
        length = shared_prefix([(*b, -1) for b in beginnings])
        return self._runner.prefix(beginnings[0][:length], None, self._should_stop) if length else None

    def _row(self, request: GenerationRequest) -> AnswerRow:
        stream = TextStream(self._decode) if request.stop_strings else None
        # Where rounding may decide, a guess could change the answer: none is made.
        drafts = request.drafts if self._options.settle_ties else ()
        # Another model's text may have tokens that this one does not.
        known = [[t for t in draft if 0 <= t < self._runner.vocab_size] for draft in drafts]
        return AnswerRow(request, stream, Follower(known), grammar=self._start_grammar(request))

    def _start_grammar(self, request: GenerationRequest) -> GrammarState | None:
        if request.grammar is None:
            return None
        if self._grammars is None:
            raise InputError(f"The engine {self._options.name} cannot follow a grammar.", "Leave it out.")
        return self._grammars().start(request.grammar, request.id)

    @torch.inference_mode()
    def _wave(self, rows: list[AnswerRow], cache: SegmentedCache) -> Iterator[Completion]:
        hidden = self._fill([row.request.prompt_ids for row in rows], cache)
        if hidden is None:
            return
        rounding = self._options.rounding
        states = hidden[:, None]
        if rounding is not None:
            # exllamav2 reads a prompt's last token in a pass of its own, which finds the others in the cache.
            cache.round_all(rounding)
            cache.forget([1] * len(rows))
            last = torch.tensor([row.request.prompt_ids[-1:] for row in rows], device=self._runner.device)
            states = self._runner.forward(last, cache)
            cache.round_newest(rounding)
        guessed: list[tuple[int, ...]] = [()] * len(rows)
        while True:
            live = [i for i, row in enumerate(rows) if row.finish is None]
            right = self._read(rows, states, guessed)
            yield from (rows[i].completion(self._decode) for i in live if rows[i].finish is not None)
            live = [i for i in live if rows[i].finish is None]
            if not live or self._should_stop():
                return
            if states.shape[1] > 1:
                cache.forget([states.shape[1] - 1 - n for n in right])
            # Moving the storage costs about a step, so a few rows must have finished to be worth it.
            if (len(rows) - len(live)) * 8 >= len(rows):
                cache.keep(live)
                rows = [rows[i] for i in live]
            guessed = _guesses(rows)
            states = self._runner.forward(_newest(rows, guessed, self._runner.device), cache)
            if rounding is not None:
                cache.round_newest(rounding)

    def _read(
        self, rows: Sequence[AnswerRow], states: torch.Tensor, guessed: Sequence[tuple[int, ...]]
    ) -> list[int]:
        """Choose what comes next in every row, place by place for as long as the guesses are what is chosen.

        Args:
            rows: all rows of the storage; finished ones are passed over.
            states: (rows, places, hidden): behind the newest token, and behind the guesses after it.
            guessed: the guesses of each row, at most `places - 1`.

        Returns:
            How many guesses of each row were right.
        """
        live = [i for i, row in enumerate(rows) if row.finish is None]
        right = [0] * len(rows)
        logits = self._runner.logits(states if len(live) == len(rows) else states[live])
        where = {i: number for number, i in enumerate(live)}
        for place in range(states.shape[1]):
            self._bar([rows[i] for i in live])
            for begin in range(0, len(live), _BLOCK_ROWS):
                block = live[begin : begin + _BLOCK_ROWS]
                self._advance([rows[i] for i in block], logits[[where[i] for i in block], place].float())
            live = [
                i
                for i in live
                if rows[i].finish is None and rows[i].tokens[-1:] == list(guessed[i][place : place + 1])
            ]
            for i in live:
                right[i] += 1
        for row, tried, count in zip(rows, guessed, right, strict=True):
            if tried:
                row.follower.told(len(tried), count)
        return right

    def _fill(self, prompts: Sequence[tuple[int, ...]], cache: SegmentedCache) -> torch.Tensor | None:
        """Compute the prompts of a wave into `cache`; returns each row's last state, None when asked to stop.

        Equal prompts of a group (one question under several seeds) stand side by side and are computed once.
        """
        runner, stop = self._runner, self._should_stop
        memory = runner.memory if self._options.share_prefix else PromptMemory.none()
        last = []
        row = done = 0
        for group in cache.groups:
            runs = [(p, len(list(same))) for p, same in groupby(prompts[row : row + group.rows])]
            row += group.rows
            distinct, wanted = [p for p, _ in runs], [1] * len(runs)
            for begin, end in batches(memory, distinct, wanted, group.length):
                if stop():
                    return None
                part, times = distinct[begin:end], [n for _, n in runs[begin:end]]
                states, filled = compute(runner, memory, part, wanted[begin:end], group.prefix, stop)
                remember(memory, part, filled, group.prefix)
                repeats = torch.tensor(times, device=states.device)
                last.append(states[:, -1].repeat_interleave(repeats, dim=0))
                cache.adopt(filled, done, times)
                done += sum(times)
        return torch.cat(last)

    def _bar(self, rows: list[AnswerRow]) -> None:
        """Find out what the grammars bar next, in one call for all rows that have one."""
        bound = [(row, row.grammar) for row in rows if row.grammar is not None]
        if bound and self._grammars is not None:
            barred = torch.from_numpy(self._grammars().barred([state for _, state in bound]))
            for (row, _), tokens in zip(bound, barred.to(self._runner.device), strict=True):
                row.barred = tokens

    def _advance(self, rows: list[AnswerRow], logits: torch.Tensor) -> None:
        """Choose the next token of every row from `logits` (rows, vocab)."""
        normalizer = logits.logsumexp(-1)
        if not bool(torch.isfinite(normalizer).all()):
            raise ProbeError(
                f"The engine {self._options.name} gave logits that are not finite numbers.",
                "Check the model folder with 'python -m wfgy_triage inspect'; its weights may be damaged.",
            )
        choices = self._choose(rows, logits)
        index = torch.tensor([[c.token] for c in choices], device=logits.device)
        logprobs = (logits.gather(1, index)[:, 0] - normalizer).tolist()
        for row, choice, logprob in zip(rows, choices, logprobs, strict=True):
            row.append(choice.token, logprob, self._eos)

    def _choose(self, rows: list[AnswerRow], logits: torch.Tensor) -> list[Choice]:
        if all(row.request.temperature == 0 and row.request.sampler == NEUTRAL for row in rows):
            bound = any(row.barred is not None for row in rows)
            parts = [row.masked(logits[i]) for i, row in enumerate(rows)] if bound else []
            choices = greedy(torch.stack(parts) if bound else logits)
        else:
            choices = [self._draw(row, logits[i : i + 1]) for i, row in enumerate(rows)]
        if self._options.settle_ties:
            for i, row in enumerate(rows):
                if choices[i].gap < NEAR_TIE:
                    choices[i] = self._draw(row, self._alone(row))
        return choices

    def _draw(self, row: AnswerRow, logits: torch.Tensor) -> Choice:
        asked, logits = row.request, row.masked(logits)
        if asked.sampler != NEUTRAL:
            return choose(logits[0], asked, row.tokens)
        if asked.temperature == 0:
            return greedy(logits)[0]
        return sample(logits[0].cpu().numpy(), asked.temperature, asked.top_p, asked.seed, len(row.tokens))

    def _alone(self, row: AnswerRow) -> torch.Tensor:
        """Logits (1, vocab) for the row's next token from a pass that nothing else takes part in."""
        ids = (*row.request.prompt_ids, *row.tokens)
        cache = SegmentedCache(self._runner.kv_shape, [len(ids)], len(ids))
        states = self._runner.prefill([ids], cache, self._should_stop)
        return self._runner.logits(states[:, -1]).float()


def _guesses(rows: Sequence[AnswerRow]) -> list[tuple[int, ...]]:
    """What each row guesses of its next tokens, as far as it is worth reading."""
    possible = [() if row.finish else row.guess(WIDTHS[-1] - 1) for row in rows]
    most = pass_width([row.follower.trust if g else 0.0 for row, g in zip(rows, possible, strict=True)]) - 1
    return [guess[:most] for guess in possible]


def _newest(
    rows: Sequence[AnswerRow], guessed: Sequence[tuple[int, ...]], device: torch.device
) -> torch.Tensor:
    """Ids (rows, places) to read: the newest token of each row and its guesses, filled up with whatever token."""
    width = 1 + max(map(len, guessed))
    # A finished row runs along with whatever token until the storage is moved.
    read = [[*(row.tokens[-1:] or [0]), *more] for row, more in zip(rows, guessed, strict=True)]
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in read], device=device)
