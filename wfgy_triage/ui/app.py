"""The web application: Gradio pages inside FastAPI, with closed defaults.

The web process loads no model and imports no torch; it reads the store through the service.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

# Read by Gradio while it is imported: with this exact value it looks up no outside host at all.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response

from wfgy_triage.access import NOBODY
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.hosting import load_hosting
from wfgy_triage.probes.registry import available_symptoms
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.team import Team, load_team
from wfgy_triage.settings import REPO_ROOT, Settings
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import add_export_routes
from wfgy_triage.ui.headers import SecurityHeaders
from wfgy_triage.ui.languages import SCRIPT_TAG, add_language_routes
from wfgy_triage.ui.missing import missing
from wfgy_triage.ui.monitoring import add_monitoring
from wfgy_triage.ui.pages.guard import build_guard_page
from wfgy_triage.ui.pages.runs import build_runs_page
from wfgy_triage.ui.pages.triage import build_triage_page
from wfgy_triage.ui.people.door import Door
from wfgy_triage.ui.people.sign_in import add_people
from wfgy_triage.ui.programs.mount import add_programs, own_addresses
from wfgy_triage.ui.received import MAX_UPLOAD
from wfgy_triage.ui.root_path import RootPath
from wfgy_triage.ui.sharing import add_share_routes
from wfgy_triage.ui.theme import FAVICON, STYLE_SHEET, build_theme
from wfgy_triage.ui.upload import TEMPLATES
from wfgy_triage.workload.texts import question_texts

TEMPLATE_FOLDER = REPO_ROOT / "assets" / "templates"
_log = logging.getLogger(__name__)
QUEUE_SIZE = 64
ICON_LINK = '<link rel="icon" href="./favicon.ico">'
"""Relative: without it browsers ask at the top of the host, which is another application's behind a proxy."""
FORGET_S = (600, 3600)
"""How often uploads that nothing was done with are looked for, and how old they then are; used ones go at once."""
UNDESCRIBED: Mapping[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
"""For the outer application and for Gradio's own inside it: no interface description is served."""


def build_app(
    settings: Settings,
    service: TriageService,
    match: Callable[[str], Match] | None = None,
    team: Team | None = None,
) -> FastAPI:
    """Build the application: the pages at `/`, `/runs` and `/guard`, and `/healthz` for monitors.

    Args:
        settings: where the pairs file is.
        service: how the pages start, watch and list runs.
        match: ranks the symptoms for a complaint (`MatcherClient.match`); without it the page says that free text
            is not available.
        team: who may come in; what the environment says by default.

    Raises:
        InputError: a setting of who may come in is wrong.
        PrerequisiteError: the fix map or the list of users is damaged.
    """
    team = team or load_team(settings)
    door = Door(service.sign_in_desk(team), on_space=bool(os.environ.get("SPACE_ID")))
    service = service.acting(NOBODY)  # every request brings who acts; without one nothing is allowed
    context = PageContext(
        settings=settings,
        service=service,
        catalog=load_catalog(),
        probed=frozenset(available_symptoms()),
        question_texts=question_texts,
        match=match or _no_matcher,
        team=team,
    )
    hosting = load_hosting()
    app = FastAPI(**UNDESCRIBED)
    add_people(app, door, own_addresses())
    if team.exposed:
        _log.warning(
            "Nobody has to sign in at %s: everybody who reaches it may do everything.", settings.host
        )

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

    add_language_routes(app)
    add_export_routes(app, service)
    add_share_routes(app, service)
    add_monitoring(app, service, hosting)
    add_programs(app, context)
    # Said of every mounted app with several pages, although server-side rendering is switched off below.
    warnings.filterwarnings("ignore", message="SSR mode is not supported")
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_pages(context),
        path="/",
        root_path=hosting.public_url or hosting.root_path or None,
        theme=build_theme(),
        css_paths=[STYLE_SHEET],
        favicon_path=str(FAVICON),
        head=ICON_LINK + SCRIPT_TAG,
        footer_links=[],
        app_kwargs={**UNDESCRIBED, "exception_handlers": {404: missing}},
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
    )
    mounted.add_middleware(RootPath, path=hosting.root_path)
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
    with pages.route("Sessions", "/runs"):
        build_runs_page(context)
    with pages.route("Guard", "/guard"):
        build_guard_page(context)
    pages.queue(api_open=False, max_size=QUEUE_SIZE)
    return pages
