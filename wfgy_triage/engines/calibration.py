"""Runs calibration text through a transformers model so that the quantizer sees every linear's inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.allocation import Sensitivity
from wfgy_triage.exl2.headers import check_folder_safe
from wfgy_triage.exl2.layout import ROW_MULTIPLE
from wfgy_triage.exl2.walker import Visit

_SENSITIVITY_ROWS = 4


class TransformersWalker:
    """Walks a causal language model of the `model.model.layers` layout, block by block.

    All calibration rows go through a block as one batch. A hook in front of each linear hands its inputs to the
    visitor and puts the returned weight in place before the linear runs, so whatever follows (in this block and
    in later ones) is computed from weights already quantized, in a single pass.

    Args:
        folder: transformers folder with safetensors.

    Raises:
        PrerequisiteError: an unsafe folder, or a model of another layout.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        check_folder_safe(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
        ).eval()
        self._model.requires_grad_(False)
        body = getattr(self._model, "model", None)
        if not all(hasattr(body, part) for part in ("layers", "norm")):
            raise PrerequisiteError(
                f"{type(self._model).__name__} is not laid out as embedding, layers, norm and head.",
                "Quantize it with the library's own converter.",
            )

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of `text` without special tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def sensitivities(
        self, rows: torch.Tensor, before_row: Callable[[], None] | None = None
    ) -> dict[str, Sensitivity]:
        """Estimate where weight errors hurt, from gradients on a few calibration rows.

        The second-order KL of a small output error d is E[(g . d)^2] / 2, with g the gradient of the log-likelihood
        of a token drawn from the model itself. With independent weight errors, a unit of relative squared error in
        an input feature costs E|g|^2 * E[x^2] * mean(w^2), x and w being that feature's inputs and weights.
        """
        sample = rows[:: max(1, len(rows) // _SENSITIVITY_ROWS)][:_SENSITIVITY_ROWS]
        gradient: dict[str, float] = defaultdict(float)
        power: dict[str, torch.Tensor] = {}
        linears = {f"model.{name}": module for name, module in _linears(self._model.model)}

        def record(key: str) -> Any:
            def add(grad: torch.Tensor) -> None:
                gradient[key] += float(grad.square().sum())

            def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
                squares = args[0].detach().flatten(0, -2).square().sum(0)
                power[key] = power[key] + squares if key in power else squares
                output.register_hook(add)  # type: ignore[no-untyped-call]

            return hook

        hooks = [module.register_forward_hook(record(key)) for key, module in linears.items()]
        generator = torch.Generator().manual_seed(0)
        try:
            for row in sample:
                if before_row is not None:
                    before_row()
                embedded = self._model.get_input_embeddings()(row.unsqueeze(0)).requires_grad_(True)
                logits = self._model(inputs_embeds=embedded, use_cache=False).logits[0]
                drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator).squeeze(1)
                loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
                torch.autograd.backward(loss)
        finally:
            for handle in hooks:
                handle.remove()
        tokens = sample.numel()
        return {
            key: _sensitivity(linears[key].weight, power[key] / tokens, gradient[key] / tokens)
            for key in gradient
        }

    @torch.inference_mode()
    def walk(self, rows: torch.Tensor, visit: Visit) -> None:
        """Run token rows (rows, tokens) through the model; see `LayerWalker.walk`."""
        body = self._model.model
        hidden, arguments = self._block_inputs(rows)
        for index, block in enumerate(body.layers):
            hooks = _install(block, f"model.layers.{index}.", visit)
            try:
                output = block(hidden, **arguments)
            finally:
                for hook in hooks:
                    hook.remove()
            hidden = output[0] if isinstance(output, tuple) else output
        final = body.norm(hidden)
        visit("lm_head", self._model.lm_head.weight, final.view(-1, final.shape[-1]))

    def _block_inputs(self, rows: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """Let the model prepare embeddings, mask and positions, and stop it at the first block."""
        caught: dict[str, Any] = {}

        def stop(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught["hidden"] = args[0] if args else kwargs.pop("hidden_states")
            caught["kwargs"] = kwargs
            raise _Stop

        hook = self._model.model.layers[0].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self._model.model(rows, use_cache=False)
        except _Stop:
            pass
        finally:
            hook.remove()
        return caught["hidden"], caught["kwargs"]


class _Stop(Exception):
    """Leaves the model's forward pass once the first block's inputs are known."""


def _install(block: torch.nn.Module, prefix: str, visit: Visit) -> list[Any]:
    last: list[tuple[torch.Tensor, torch.Tensor]] = []

    def flatten(inputs: torch.Tensor) -> torch.Tensor:
        # Linears that share an input must be given the same object.
        if not last or last[0][0] is not inputs:
            last[:] = [(inputs, inputs.reshape(-1, inputs.shape[-1]))]
        return last[0][1]

    def before(key: str) -> Any:
        def hook(module: torch.nn.Linear, args: tuple[torch.Tensor, ...]) -> None:
            weight = visit(key, module.weight, flatten(args[0]))
            module.weight = torch.nn.Parameter(weight.to(module.weight.dtype), requires_grad=False)

        return hook

    return [module.register_forward_pre_hook(before(prefix + name)) for name, module in _linears(block)]


def _linears(module: torch.nn.Module) -> list[tuple[str, torch.nn.Linear]]:
    return [(name, m) for name, m in module.named_modules() if isinstance(m, torch.nn.Linear)]


def _sensitivity(weight: torch.Tensor, power: torch.Tensor, gradient: float) -> Sensitivity:
    """Combine mean squares of the inputs (in_features,) and of the output gradient (summed over outputs)."""
    by_feature = power * weight.square().mean(0)
    energy = by_feature[power.argsort(descending=True)]
    blocks = torch.nn.functional.pad(energy, (0, -len(energy) % ROW_MULTIPLE)).view(-1, ROW_MULTIPLE).sum(1)
    total = float(blocks.sum())
    if total == 0:
        return Sensitivity(cost=0.0)
    return Sensitivity(gradient * total / weight.numel(), tuple((blocks / total).tolist()))
