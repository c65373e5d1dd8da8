"""Takes a port before anything slow happens, so that a taken one is said at once and in plain words."""

from __future__ import annotations

import socket

from wfgy_triage.errors import PrerequisiteError


def bind(host: str, port: int, advice: str = "choose another port with --port") -> socket.socket:
    """Return a bound socket.

    Args:
        host: interface.
        port: TCP port; 0 for any.
        advice: what to do when it is taken.

    Raises:
        PrerequisiteError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PrerequisiteError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.",
            f"If another copy is running, use that one; else {advice}.",
        ) from error
    return listener
