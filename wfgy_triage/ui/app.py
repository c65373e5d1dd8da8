"""The web application: Gradio pages inside FastAPI, with closed defaults.

The web process loads no model and imports no torch; it reads the store through the service.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

# Read by Gradio while it is imported: with this exact value it looks up no outside host at all.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes.registry import available_symptoms
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import add_export_routes
from wfgy_triage.ui.headers import SecurityHeaders
from wfgy_triage.ui.pages.runs import build_runs_page
from wfgy_triage.ui.pages.triage import build_triage_page
from wfgy_triage.ui.programs.mount import add_programs
from wfgy_triage.ui.received import MAX_UPLOAD
from wfgy_triage.ui.sharing import add_share_routes
from wfgy_triage.ui.theme import FAVICON, STYLE_SHEET, build_theme
from wfgy_triage.ui.upload import TEMPLATES
from wfgy_triage.workload.texts import question_texts

TEMPLATE_FOLDER = REPO_ROOT / "assets" / "templates"
QUEUE_SIZE = 64
FORGET_S = (600, 3600)
"""How often uploads that nothing was done with are looked for, and how old they then are; used ones go at once."""
UNDESCRIBED: Mapping[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
"""For the outer application and for Gradio's own inside it: no interface description is served."""


def build_app(
    settings: Settings, service: TriageService, match: Callable[[str], Match] | None = None
) -> FastAPI:
    """Build the application: the pages at `/` and `/runs`, and `/healthz` for monitors.

    Args:
        settings: where the pairs file is.
        service: how the pages start, watch and list runs.
        match: ranks the symptoms for a complaint (`MatcherClient.match`); without it the page says that free text
            is not available.

    Raises:
        PrerequisiteError: the fix map is damaged.
    """
    context = PageContext(
        settings=settings,
        service=service,
        catalog=load_catalog(),
        probed=frozenset(available_symptoms()),
        question_texts=question_texts,
        match=match or _no_matcher,
    )
    app = FastAPI(**UNDESCRIBED)

    @app.api_route("/healthz", methods=["GET", "HEAD"], response_class=PlainTextResponse)
    def healthz() -> str:
        """Answer that the web process is up (a dead worker does not make it unhealthy)."""
        return "ok"

    @app.get("/templates/{name}", response_class=FileResponse)
    def template(name: str) -> Response:
        """Give a template of a question set; only the named files exist."""
        if name not in TEMPLATES:
            return PlainTextResponse("There is no such template.", status_code=404)
        return FileResponse(TEMPLATE_FOLDER / name, filename=name)

    add_export_routes(app, service)
    add_share_routes(app, service)
    add_programs(app, context)
    # Said of every mounted app with several pages, although server-side rendering is switched off below.
    warnings.filterwarnings("ignore", message="SSR mode is not supported")
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_pages(context),
        path="/",
        theme=build_theme(),
        css_paths=[STYLE_SHEET],
        favicon_path=str(FAVICON),
        footer_links=[],
        app_kwargs=dict(UNDESCRIBED),
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
    )
    mounted.add_middleware(SecurityHeaders, on_space=bool(os.environ.get("SPACE_ID")))
    return mounted


def _no_matcher(text: str) -> Match:
    raise PrerequisiteError(
        "Describing it in words is not available here.", "Choose the card that comes closest."
    )


def build_pages(context: PageContext) -> gr.Blocks:
    """Build the Gradio pages. The queue takes no direct calls, and is bounded."""
    pages: gr.Blocks
    with gr.Blocks(title="EXL2 triage", analytics_enabled=False, delete_cache=FORGET_S) as pages:
        build_triage_page(context)
    with pages.route("Runs", "/runs"):
        build_runs_page(context)
    pages.queue(api_open=False, max_size=QUEUE_SIZE)
    return pages
