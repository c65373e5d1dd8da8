"""Passes over long texts that can be broken off: one of them may take a minute, and a stop is not to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from torch import nn

_Item = TypeVar("_Item")
LONG_PASS = 256
"""Tokens (of all rows) from which on it is asked within a pass; asking costs a shorter one more than it could save."""


class BrokenOffError(Exception):
    """A pass was broken off because its caller is to stop. Engines end early then; nobody else sees it."""


@contextmanager
def asking(blocks: Iterable[nn.Module], should_stop: Callable[[], bool]) -> Iterator[None]:
    """Ask whether to stop before every block that runs meanwhile, and before every part of one.

    Only the order of asking and computing is fixed by it: a pass that is not broken off gives the same bits.

    Args:
        blocks: of the model.
        should_stop: what is asked.

    Raises:
        BrokenOffError: from within the pass, once the answer is yes.
    """

    def ask(_module: nn.Module, _inputs: object) -> None:
        if should_stop():
            raise BrokenOffError

    asked = [part for block in blocks for part in (block, *block.children())]
    hooks = [part.register_forward_pre_hook(ask) for part in asked]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def until_broken_off(items: Iterator[_Item]) -> Iterator[_Item]:
    """The results of a call, which ends early where one of its passes is broken off."""
    with suppress(BrokenOffError):
        yield from items
