"""The page's handlers for whoever sent the request: their rights, and only what they may do is offered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.people.door import actor_of
from wfgy_triage.ui.people.shown import withheld


def context_of(context: PageContext, request: gr.Request | None) -> PageContext:
    """The same context for whoever sent a request: its service does what they may."""
    return replace(context, service=context.service.acting(actor_of(request)))


def for_visitor(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make an event's function from a handler's method: it runs with the rights of whoever sent the event.

    Args:
        method: a bound method of handlers that have `context` and `parts`; it may take the request itself.
    """
    handlers: Any = method.__self__  # type: ignore[attr-defined]
    name = method.__name__
    takes_request = "request" in inspect.signature(method).parameters

    def call(request: gr.Request, *given: Any) -> dict[Any, Any]:
        context = context_of(handlers.context, request)
        theirs = type(handlers)(context, handlers.parts)
        updates: dict[Any, Any] = getattr(theirs, name)(*given, *((request,) if takes_request else ()))
        return updates | withheld(handlers.parts, context.service, updates, all_of_them=takes_request)

    call.__name__ = name
    return call
