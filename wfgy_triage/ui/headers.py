"""Security headers on every response, as a pure ASGI layer: it never buffers, so event streams keep flowing."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 'unsafe-inline' and 'unsafe-eval' are what Gradio's own page and component templates need; everything else
# is closed to other origins, so a page that somehow carried foreign markup could not phone out.
CONTENT_SECURITY_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' blob: data:",
    "worker-src": "'self' blob:",
    "base-uri": "'self'",
    "form-action": "'self'",
    "object-src": "'none'",
}
SPACE_ANCESTORS = "'self' https://huggingface.co https://*.hf.space"


class SecurityHeaders:
    """Adds the headers to each HTTP response that passes through.

    Args:
        app: the application inside.
        on_space: a hosted Space shows the app in a frame of its own site; elsewhere framing is refused.
    """

    def __init__(self, app: ASGIApp, on_space: bool = False) -> None:
        self.app = app
        ancestors = SPACE_ANCESTORS if on_space else "'none'"
        policy = {**CONTENT_SECURITY_POLICY, "frame-ancestors": ancestors}
        self.headers = {
            "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "permissions-policy": "camera=(), microphone=(), geolocation=()",
            "cross-origin-opener-policy": "same-origin",
        }
        if not on_space:
            self.headers["x-frame-options"] = "DENY"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; set the headers when the response starts."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        await self.app(scope, receive, send_with_headers)
