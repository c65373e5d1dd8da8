"""Puts the calls under `/api`: as endpoints of a second Gradio application, and as tools of an MCP server.

The pages are another application, whose handlers stay private. Gradio's own MCP server is not used: it turns every
public endpoint into a tool, asks this server over HTTP for each call, and its extra holds pydantic at a version from
before the one that is pinned here. The official package takes the same functions, and is imported only when asked for.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, get_type_hints

import gradio as gr
from fastapi import FastAPI
from gradio.events import api

from wfgy_triage import __version__
from wfgy_triage.access import PROGRAM, Actor
from wfgy_triage.errors import InputError, PrerequisiteError, TriageError
from wfgy_triage.runs.tokens import TokenList, load_tokens
from wfgy_triage.settings import Settings
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.programs.access import (
    CALLER,
    LARGEST,
    MCP_PATH,
    ROOT,
    ProgramDoor,
    WhoAsks,
    by_token,
    is_local,
)
from wfgy_triage.ui.programs.calls import CALLS, ProgramCalls

SWITCH = "WFGY_TRIAGE_API"
WAITING_CALLS = 64
"""Calls that may wait for an answer at once; each takes some hundredths of a second."""
AT_ONCE = 8
INSTRUCTIONS = (
    "Measures whether an EXL2-quantized model is worse than its FP16 original for a symptom. Choose a symptom "
    "(match_complaint or list_symptoms) and a pair (list_pairs), start_probe, then ask get_result every few seconds "
    "until status is done, cancelled or failed. A run takes minutes. NOT_MEASURED and INCONCLUSIVE are answers."
)
_CLOSED: Mapping[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}


def add_programs(app: FastAPI, context: PageContext, who: WhoAsks | None = None) -> None:
    """Serve `/api` (HTTP) and `/api/mcp`, where `WFGY_TRIAGE_API` is 1; else nothing is there.

    Call it before the pages are mounted at `/`.

    Args:
        app: the outer application.
        context: what the pages know.
        who: says who a request comes from, or raises `AccessError`; by default by token.

    Raises:
        InputError: the switch or the list of tokens is malformed.
        PrerequisiteError: tokens are needed and there are none, or their file cannot be read.
    """
    if not _switched_on(os.environ.get(SWITCH, "")):
        return
    if who is None:
        tokens = load_tokens()
        _must_be_safe(context.settings, tokens)
        who = by_token(tokens)
    _mount_mcp(app, context)
    _mount_gradio(app, context)
    app.add_middleware(ProgramDoor, who=who)


def own_addresses() -> tuple[str, ...]:
    """How addresses begin that have this door instead of the people's; none where programs are not served."""
    return (f"{ROOT}/",) if _switched_on(os.environ.get(SWITCH, "")) else ()


def _switched_on(value: str) -> bool:
    if value not in ("", "0", "1"):
        raise InputError(f"{SWITCH} is {value[:20]!r}.", "Set it to 1 to serve programs, or to 0.")
    return value == "1"


def _must_be_safe(settings: Settings, tokens: TokenList) -> None:
    if not tokens.required and not is_local(settings.host):
        raise PrerequisiteError(
            f"{SWITCH} is 1 and other machines can reach {settings.host}, but there are no tokens.",
            "Make one with 'python -m wfgy_triage token NAME' and set WFGY_TRIAGE_API_TOKENS, or listen on 127.0.0.1.",
        )


def _mount_gradio(app: FastAPI, context: PageContext) -> None:
    with gr.Blocks(title="EXL2 triage for programs", analytics_enabled=False) as blocks:
        for method in CALLS:
            api(_call(context, method, gr.Request, _gradio_caller, _gradio_error), concurrency_limit=AT_ONCE)
    blocks.queue(api_open=False, max_size=WAITING_CALLS)
    gr.mount_gradio_app(
        app,
        blocks,
        path=ROOT,
        footer_links=[],
        app_kwargs=dict(_CLOSED),
        run_history=False,
        allowed_paths=[],
        max_file_size=LARGEST,
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
    )


def _mount_mcp(app: FastAPI, context: PageContext) -> None:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.server.transport_security import TransportSecuritySettings

    server = MCPServer("wfgy-triage", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    for method in CALLS:
        server.add_tool(_call(context, method, Context, _mcp_caller, ToolError))
    served = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=LARGEST,
        # The door has checked host, origin and token already.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.router.routes.extend(served.routes)
    before = app.router.lifespan_context

    @asynccontextmanager
    async def with_sessions(outer: FastAPI) -> AsyncIterator[Any]:
        async with before(outer) as state, server.session_manager.run():
            yield state

    app.router.lifespan_context = with_sessions


def _acting(context: PageContext, caller: Actor) -> PageContext:
    """The same context for a program: its token's role decides, and what it starts is its own."""
    program = replace(caller, name=f"{PROGRAM}{caller.name}")  # never somebody of the page with the same name
    return replace(context, service=context.service.acting(program))


def _call(
    context: PageContext,
    method: Callable[..., Any],
    request_type: type,
    caller_of: Callable[[Any], Actor],
    failure: Callable[[str], Exception],
) -> Callable[..., Any]:
    """A call with its caller taken from the request, and with its errors as the framework tells them.

    Args:
        context: what the pages know.
        method: of `ProgramCalls`.
        request_type: what the framework fills in for a parameter of this type.
        caller_of: reads the caller from it.
        failure: makes the exception whose text the framework passes on.
    """
    hints = get_type_hints(method)
    itself, *rest = inspect.signature(method).parameters.values()
    request = itself.replace(name="request", annotation=request_type)
    signature = inspect.Signature(
        [request, *(p.replace(annotation=hints[p.name]) for p in rest)], return_annotation=hints["return"]
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        try:
            return method(ProgramCalls(_acting(context, caller_of(given.pop("request")))), **given)
        except TriageError as error:
            raise failure(f"{error.message} {error.hint}".strip()) from error

    call.__name__ = method.__name__
    call.__doc__ = inspect.getdoc(method)
    call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()} | {
        "return": hints["return"]
    }
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _gradio_caller(request: gr.Request) -> Actor:
    return _caller(getattr(request.request, "scope", {}))


def _mcp_caller(context: Any) -> Actor:
    return _caller(getattr(context.request_context.request, "scope", {}))


def _caller(scope: Mapping[str, Any]) -> Actor:
    """The caller that the door has noted; without one nothing is answered, whatever way a request came."""
    found = scope.get("state", {}).get(CALLER)
    if not isinstance(found, Actor):
        raise InputError("It is not known who asks.", "Ask under /api.")
    return found


_gradio_error = partial(gr.Error, print_exception=False)
