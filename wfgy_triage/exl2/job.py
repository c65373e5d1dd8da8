"""Quantizing linears as a walk meets them: statistics of the inputs, rounding, packing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress

import torch

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.codec import encode_linear
from wfgy_triage.exl2.gptq import InputStatistics, input_hessian, prepare_inputs, quantize_gptq
from wfgy_triage.exl2.modules import module_order
from wfgy_triage.exl2.plan import weight_name
from wfgy_triage.exl2.presets import Preset
from wfgy_triage.exl2.recipe import Method
from wfgy_triage.exl2.rtn import QuantizedLinear, quantize_rtn
from wfgy_triage.exl2.walker import LayerWalker

Progress = Callable[[int, int, str], None]
"""Called with (done, total, label) before each linear and at the end; what it raises stops the work."""


_WIDE = 8192
"""Outputs from which on a step of the rounding is long enough to be shared by threads (a head, mostly)."""


class EnoughSeenError(Exception):
    """Ends a walk whose rest nobody needs."""


class Job:
    """Quantizes the planned linears and keeps their packed tensors.

    Args:
        source: the FP16 folder.
        plan: preset of each linear to quantize.
        method: how to round.
        progress: told before each linear.
        others: the weight that the walk goes on with for a linear that is not planned; its own without it.
        passes: linears that the walk passes, planned ones included; the planned ones without it.
    """

    def __init__(
        self,
        source: Checkpoint,
        plan: Mapping[str, Preset],
        method: Method,
        progress: Progress | None,
        others: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
        passes: int | None = None,
    ) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._source, self._plan, self._method, self._progress = source, plan, method, progress
        self._others = others or (lambda key, weight: weight)
        self._done: set[str] = set()
        self._passed, self._passes = 0, passes or len(plan)
        self._inputs: torch.Tensor | None = None
        self._statistics: InputStatistics | None = None

    def walk(self, walker: LayerWalker, tokens: torch.Tensor) -> None:
        """Quantize what the walker meets; it goes no further than the last planned linear."""
        with suppress(EnoughSeenError):
            walker.walk(tokens, self._visit)

    def round_unmet(self, order: Callable[[str, int], torch.Tensor]) -> None:
        """Round what no walker has met.

        Args:
            order: the feature order of a linear with so many inputs.

        Raises:
            PrerequisiteError: under GPTQ, where every linear must have been met.
        """
        for key in sorted(set(self._plan) - self._done, key=module_order):
            if self._method == "gptq":
                raise PrerequisiteError(
                    f"The model never used {key} on the calibration text.",
                    "Use --method rtn for this architecture.",
                )
            self._report(key)
            weight = self._source.plain(weight_name(self._source.contents, key))
            features = weight.shape[1]
            self._keep(key, quantize_rtn(weight, self._plan[key].groups(features), order(key, features)))

    def report_done(self) -> None:
        """Tell the caller that all is written."""
        if self._progress is not None:
            self._progress(self._passes, self._passes, "done")

    def _report(self, key: str) -> None:
        if self._progress is not None:
            self._progress(self._passed, self._passes, key)
        self._passed += 1

    def _visit(self, key: str, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Quantize one linear on its inputs; linears that share an input share its statistics."""
        if len(self._done) == len(self._plan):
            raise EnoughSeenError
        self._report(key)
        if key not in self._plan or key in self._done:
            return self._others(key, weight)
        statistics = self._statistics_of(inputs)
        groups = self._plan[key].groups(weight.shape[1])
        with _one_thread() if weight.shape[0] < _WIDE else nullcontext():
            if self._method == "gptq":
                return self._keep(key, quantize_gptq(weight, groups, statistics))
            return self._keep(key, quantize_rtn(weight, groups, statistics.permutation))

    def _statistics_of(self, inputs: torch.Tensor) -> InputStatistics:
        if self._statistics is None or inputs is not self._inputs:
            hessian = input_hessian(inputs)
            with _one_thread():
                self._statistics = prepare_inputs(hessian)
            self._inputs = inputs
        return self._statistics

    def _keep(self, key: str, linear: QuantizedLinear) -> torch.Tensor:
        name = f"{key}.bias"
        bias = self._source.plain(name) if name in self._source.plain_names() else None
        packed = encode_linear(
            linear.codes, linear.qscale, linear.scale_max, linear.groups, linear.permutation, bias
        )
        self.tensors.update({f"{key}.{part}": tensor for part, tensor in packed.items()})
        self._done.add(key)
        return linear.weight


@contextmanager
def _one_thread() -> Iterator[None]:
    """Rounding row by row is thousands of small steps; threads that wait for each other at each step only slow it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
