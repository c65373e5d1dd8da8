"""What may come next in exllamav2: our grammars and our seeded draw as one of its filters.

The library's own sampler stays greedy. A request that samples gets its token from `engines/sampling.py`, as on the
other engines: the same seed then means the same noise on both sides of a pair, and what differs is the model. Penalties
and cut-offs are ours too (`engines/warping.py`): the library's change the logits in place, and the log-probabilities
of an answer would be those of the changed ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from wfgy_triage.engines.base import NEUTRAL, GenerationRequest
from wfgy_triage.engines.grammar import GrammarCompiler, GrammarState
from wfgy_triage.engines.sampling import sample
from wfgy_triage.engines.warping import choose
from wfgy_triage.errors import InputError


class TokenChooser:
    """Narrows the choice of one answer's next token; knows nothing of the library.

    Args:
        request: the request; needs a grammar, a temperature or a sampler that is not neutral.
        grammars: gives the compiler of grammars when one is needed.
        end_ids: tokens that end an answer.
        vocab_size: token ids that mean something; logits above are padding.

    Raises:
        InputError: a grammar that cannot be followed, or one for a model without an end token.
    """

    def __init__(
        self,
        request: GenerationRequest,
        grammars: Callable[[], GrammarCompiler],
        end_ids: frozenset[int],
        vocab_size: int,
    ) -> None:
        self._request, self._end, self._vocab = request, end_ids, vocab_size
        self._compiler = grammars() if request.grammar is not None else None
        if request.grammar is not None and not end_ids:
            raise InputError(
                f"Request {request.id!r} has a grammar, and the model names no token that ends an answer.",
                "Add eos_token_id to the folder's config.json, or answer without a grammar.",
            )
        self.complete = False
        self.begin()

    def begin(self) -> None:
        """Stand before the first token of the answer."""
        self._state: GrammarState | None = None
        if self._compiler is not None and self._request.grammar is not None:
            self._state = self._compiler.start(self._request.grammar, self._request.id)
        self._tokens: list[int] = []
        self._ended = self.complete = False
        self._barred: torch.Tensor | None = None

    def feed(self, token: int) -> None:
        """Take the token that was chosen.

        Raises:
            ProbeError: the grammar does not allow it.
        """
        self._barred = None
        self._tokens.append(token)
        if token in self._end:
            self._ended = True
        elif self._state is not None and not self.complete:
            self.complete = self._state.push(token)

    def prepare(self) -> None:
        """Find out what the grammar bars next; may run in another thread, while the GPU computes.

        Raises:
            ProbeError: the grammar leaves no token.
        """
        if self._compiler is None or self._state is None or self._barred is not None or self._ended:
            return
        if self.complete:
            barred = torch.ones(self._vocab, dtype=torch.bool)
            barred[[i for i in self._end if i < self._vocab]] = False
            self._barred = barred
        else:
            self._barred = torch.from_numpy(self._compiler.barred([self._state])[0])

    def narrowed(self, logits: torch.Tensor) -> torch.Tensor:
        """A copy of `logits` (vocab and padding,) with minus infinity where nothing may be chosen.

        The original is left as it was: the log-probability of the choice is read from it.
        """
        self.prepare()
        kept = torch.full_like(logits, -torch.inf)
        allowed = logits[: self._vocab]
        if self._barred is not None:
            allowed = allowed.masked_fill(self._barred, -torch.inf)
        request = self._request
        if request.sampler != NEUTRAL:
            drawn = choose(allowed, request, self._tokens)
        elif request.temperature == 0:
            kept[: self._vocab] = allowed
            return kept
        else:
            step = len(self._tokens)
            drawn = sample(allowed.numpy(), request.temperature, request.top_p, request.seed, step)
        kept[drawn.token] = logits[drawn.token]
        return kept


def filter_class(base: Any) -> Any:
    """The library's filter around a `TokenChooser`.

    Args:
        base: `ExLlamaV2Filter`; it exists only once the library is imported.
    """

    class ChooserFilter(base):  # type: ignore[misc]
        """Takes part in the library's sampling by masking logits, prepared while the GPU computes."""

        def __init__(self, model: Any, tokenizer: Any, chooser: TokenChooser) -> None:
            super().__init__(model, tokenizer)
            self.chooser = chooser

        def begin(self, prefix_str: str) -> None:
            """The answer begins; the prompt is no part of it."""
            self.chooser.begin()

        def feed(self, token: torch.Tensor) -> None:
            """A token (1, 1) was chosen."""
            self.chooser.feed(int(token.item()))

        def next(self) -> tuple[None, None]:
            """No list of tokens: this filter masks."""
            return None, None

        def use_background_worker(self) -> bool:
            """Masks are made while the GPU computes."""
            return True

        def can_mask_logits(self) -> bool:
            """This filter masks."""
            return True

        def prepare_logit_mask(self) -> bool:
            """Make the mask; true says that it is there."""
            self.chooser.prepare()
            return True

        def mask_logits(self, logits: torch.Tensor) -> torch.Tensor:
            """Masked copy of the logits (padded vocabulary,)."""
            return self.chooser.narrowed(logits)

    return ChooserFilter
