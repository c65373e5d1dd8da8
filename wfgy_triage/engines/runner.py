"""One loaded model, prepared for computing: forward passes on our own key-value storage, and the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from wfgy_triage.engines.attention import ATTENTION_NAME, causal_mask
from wfgy_triage.engines.interrupting import LONG_PASS, asking
from wfgy_triage.engines.linear import CompactEmbedding, PackedLinear
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.storage import KVShape, PrefixGroup, PrefixKV, SegmentedCache
from wfgy_triage.errors import PrerequisiteError

# Query tokens in one forward pass: bounds the score matrices, and is enough to keep the cores busy.
QUERY_TOKENS = 1024


class ModelRunner:
    """Runs a transformers causal language model on `SegmentedCache` storage.

    Args:
        model: a model whose linear layers are already in their form of computation.
        vocab_size: rows of the head that are real tokens; padding above is cut off.
        dtype: what is computed in.
        device: where.
    """

    def __init__(self, model: nn.Module, vocab_size: int, dtype: torch.dtype, device: torch.device) -> None:
        config: Any = model.config
        self.model, self.dtype, self.device, self.vocab_size = model, dtype, device, vocab_size
        self.base: Any = model.get_submodule(str(model.base_model_prefix))
        self.head: Any = model.get_output_embeddings()  # type: ignore[operator]
        config._attn_implementation = ATTENTION_NAME
        self.kv_shape = kv_shape(config, dtype, device)
        self.memory = PromptMemory(self.kv_shape.bytes_per_token)
        self.around: Callable[[Callable[[], Any]], Any] | None = None
        """Given every forward pass to run, where somebody knows a part of its outcome (`BlockStates`)."""

    def forward(self, ids: torch.Tensor, cache: SegmentedCache) -> torch.Tensor:
        """Run `ids` (rows, steps) behind what `cache` holds; returns hidden states (rows, steps, hidden)."""
        positions = cache.begin(ids.shape[1])

        def run() -> Any:
            return self.base(
                input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, kv_store=cache
            )

        output = run() if self.around is None else self.around(run)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states (positions, hidden) in the dtype of computation, padded vocabulary cut off."""
        out: torch.Tensor = self.head(hidden)
        return out[..., : self.vocab_size]

    def prefill(
        self,
        rows: list[tuple[int, ...]],
        cache: SegmentedCache,
        should_stop: Callable[[], bool] | None = None,
    ) -> torch.Tensor:
        """Run right-justified prompts in chunks of columns; returns hidden states (rows, longest, hidden).

        Raises:
            BrokenOffError: `should_stop()` became true meanwhile; the cache is of no use then.
        """
        ids = right_justified(rows, self.device)
        step = max(1, QUERY_TOKENS // len(rows))
        long = ids.numel() >= LONG_PASS
        with asking(self.base.layers, should_stop) if should_stop and long else nullcontext():
            chunks = [self.forward(ids[:, i : i + step], cache) for i in range(0, ids.shape[1], step)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)

    def prefix(
        self,
        ids: tuple[int, ...],
        behind: PrefixKV | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> PrefixKV | None:
        """Keys and values of a prefix that a batch shares; None when there is none.

        Args:
            ids: the prefix.
            behind: keys and values of its own beginning, where they are known: only the rest is computed.
            should_stop: asked while a long one is computed.

        Raises:
            BrokenOffError: it became true.
        """
        if not ids:
            return None
        known = behind.length if behind else 0
        if (remembered := self.memory.known(ids)) > known:
            behind, known = self.memory.part(ids, 0, remembered).solid(), remembered
        if behind is not None and known >= len(ids):
            return behind.first(len(ids))
        cache = SegmentedCache(self.kv_shape, [len(ids) - known], len(ids) - known, [PrefixGroup(1, behind)])
        self.prefill([ids[known:]], cache, should_stop)
        rest = cache.as_prefix()
        return rest if behind is None else behind.extended(rest)

    def check_against_class(self) -> None:
        """Compare a short pass with what the model class computes with its own attention and head.

        Raises:
            PrerequisiteError: when they differ: the architecture does something this engine does not do.
        """
        count, split = 24, 5
        ids = (torch.arange(count, device=self.device) * 7919 % self.vocab_size)[None]
        prefix = self.prefix(tuple(ids[0, :split].tolist()))
        behind = SegmentedCache(self.kv_shape, [count - split], count, [PrefixGroup(1, prefix)])
        ours = self.logits(self.forward(ids[:, split:], behind)[0]).float()
        theirs = self._class_logits(ids)[split:]
        scale = max(1.0, float(theirs.abs().max()))
        difference = float((ours - theirs).abs().max())
        tolerance = 1e-3 if self.dtype == torch.float32 else 8e-2
        # A damaged checkpoint may give NaN on both sides: that is for the probes to report.
        if bool(torch.isfinite(theirs).all()) and not difference <= tolerance * scale:
            raise PrerequisiteError(
                f"The engine's logits differ from those of {type(self.model).__name__} by {difference:.3g}.",
                "This architecture needs something that this engine does not do; Llama, Mistral and Qwen work.",
            )

    def _class_logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (steps, vocab) of one row by the model's own forward, causal mask and scaled-dot attention."""
        config: Any = self.model.config
        count = ids.shape[1]
        cache = SegmentedCache(self.kv_shape, [count], count)
        positions = cache.begin(count)
        mask = causal_mask(count, self.dtype, self.device)
        config._attn_implementation = "sdpa"
        try:
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                kv_store=cache,
            )
        finally:
            config._attn_implementation = ATTENTION_NAME
        logits: torch.Tensor = output.logits[0, :, : self.vocab_size].float()
        return logits

    def states_after(self, rows: list[tuple[int, ...]], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """Hidden states after each of `layers` blocks, right-justified: layer to (rows, longest, hidden).

        Layer 0 is the embedding; the number of blocks is the normalized last state. One pass gives all of them and
        ends at the highest: what lies above is not computed.
        """
        lengths = [len(r) for r in rows]
        found: dict[int, torch.Tensor] = {}
        if 0 in layers:
            found[0] = self.embedding(right_justified(rows, self.device))
        highest = max(layers, default=0)
        if highest == 0:
            return found
        blocks = self.base.layers
        inner = [n for n in layers if 0 < n < len(blocks)]
        seen: dict[int, list[torch.Tensor]] = {n: [] for n in inner}
        hooks = [blocks[n - 1].register_forward_hook(_recorder(seen[n])) for n in inner]
        self.base.layers = blocks[:highest]
        try:
            last = self.prefill(rows, SegmentedCache(self.kv_shape, lengths, max(lengths)))
        finally:
            self.base.layers = blocks
            for hook in hooks:
                hook.remove()
        found |= {n: torch.cat(parts, dim=1) for n, parts in seen.items()}
        return found | ({highest: last} if highest == len(blocks) else {})

    def memory_bytes(self) -> int:
        """Bytes held by weights (tensors shared with another engine count here too)."""
        seen: dict[int, int] = {}
        for module in self.model.modules():
            if isinstance(module, PackedLinear):
                seen[id(module)] = module.nbytes
            for tensor in module.parameters(recurse=False):
                seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return sum(seen.values())

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.embedding.weight.shape[1])

    @property
    def embedding(self) -> CompactEmbedding:
        """The token embedding."""
        table: CompactEmbedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return table


def kv_shape(config: Any, dtype: torch.dtype, device: torch.device) -> KVShape:
    """Sizes of the key-value storage of a model with this configuration."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return KVShape(config.num_hidden_layers, kv_heads, head_dim, dtype, device)


def right_justified(rows: list[tuple[int, ...]], device: torch.device) -> torch.Tensor:
    """Stack token ids to (rows, longest), padded on the left with zeros (the padding is never attended to)."""
    longest = max(len(r) for r in rows)
    return torch.tensor([[0] * (longest - len(r)) + list(r) for r in rows], device=device)


def _recorder(into: list[torch.Tensor]) -> Callable[..., None]:
    """A forward hook that keeps what a block gives."""
    return lambda _module, _inputs, output: into.append(output)
