"""Where the app is served, for all that is inside: the path that a proxy took off, or left on."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Says below which path the app is served. Routes are found with the path in front and without it.

    Args:
        app: the application inside.
        path: as `/triage`; empty at the top.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with it."""
        await self.app({**scope, "root_path": self.path} if self.path else scope, receive, send)
