"""What the guard costs: time to the first byte and to the last, with and without it, in front of the same server.

Guard, server and client are processes of their own; both arms are asked in turn within one run, and the order of the
two changes from request to request. The server behind is scripted: it waits a little before the first piece and between
pieces, as a model does, so that what is added is the guard's. And the false alarms of a healthy model, by simulation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import psutil
from scipy import stats

from wfgy_triage.guard.watched import load_watched
from wfgy_triage.settings import REPO_ROOT

SCHEMA = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
                "required": ["id", "name"],
            },
        }
    },
    "required": ["items"],
}
TEXT = json.dumps({"items": [{"id": i, "name": f"entry number {i}"} for i in range(24)]})
PIECE, FIRST_S, BETWEEN_S = 8, 0.02, 0.004
"""A stream of about 120 events in half a second: 250 tokens a second, more than one such model gives one user."""

_SERVER = """
import asyncio, json, sys, uvicorn
TEXT, PIECE, FIRST, BETWEEN = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    stream = json.loads(body).get("stream")
    kind = b"text/event-stream" if stream else b"application/json"
    await asyncio.sleep(FIRST)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if not stream:
        whole = {"choices": [{"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"}]}
        await send({"type": "http.response.body", "body": json.dumps(whole).encode()})
        return
    for i in range(0, len(TEXT), PIECE):
        part = {"choices": [{"index": 0, "delta": {"content": TEXT[i : i + PIECE]}, "finish_reason": None}]}
        event = f"data: {json.dumps(part)}\\n\\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(BETWEEN)
    await send({"type": "http.response.body", "body": b"data: [DONE]\\n\\n"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", lifespan="off")
"""


def run(fast: bool = False, repeats: int = 40) -> dict[str, Any]:
    """Measure and print; see the module."""
    alarms = _false_alarms(20 if fast else 400)
    with tempfile.TemporaryDirectory() as home, _server() as (direct, _), _guard(direct, Path(home)) as guard:
        _warm_up(guard[0])
        found = {
            f"{name}, {load} at once": _compare(direct, *guard, stream, load, 4 if fast else repeats)
            for name, stream in (("whole", False), ("stream", True))
            for load in ((1,) if fast else (1, 8))
        }
    _print(found, alarms)
    return {"latency": found, "false_alarms": alarms}


def _warm_up(guarded: str) -> None:
    """What the guard does once is no request's: opening the log, compiling the schema, first use of the libraries."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        for stream in (False, True) * 3:
            _ask(client, guarded, stream)
    time.sleep(3)


def _compare(direct: str, guarded: str, guard: int, stream: bool, load: int, repeats: int) -> dict[str, Any]:
    used = _cpu_seconds(guard)
    times: dict[str, list[tuple[float, float, float]]] = {"direct": [], "guarded": []}
    lock = threading.Lock()

    def client(number: int) -> None:
        with httpx.Client(timeout=60, trust_env=False) as asking:
            for turn in range(repeats + 2):
                arms = [("direct", direct), ("guarded", guarded)]
                for name, url in arms if (turn + number) % 2 else arms[::-1]:
                    measured = _ask(asking, url, stream)
                    if turn > 1:  # the first two open connections and warm up
                        with lock:
                            times[name].append(measured)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(load)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arms = {name: _summary(values) for name, values in times.items()}
    ratio = {k: round(arms["guarded"][k] / arms["direct"][k], 3) for k in arms["direct"]}
    per_request = 1000 * (_cpu_seconds(guard) - used) / (load * (repeats + 2))
    return {**arms, "ratio": ratio, "requests": len(times["direct"]), "cpu_ms": round(per_request, 2)}


def _cpu_seconds(process: int) -> float:
    """Of the guard; other load of the machine does not change it much."""
    spent = psutil.Process(process).cpu_times()
    return float(spent.user + spent.system)


def _ask(client: httpx.Client, url: str, stream: bool) -> tuple[float, float, float]:
    """Milliseconds to the first byte, to the last byte of the server behind, and the longest pause between pieces."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stream": stream,
        "response_format": form,
    }
    start = time.perf_counter()
    first = last = 0.0
    pause = 0.0
    with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        for piece in answer.iter_raw():
            now = time.perf_counter()
            if not first:
                first = now
            elif not piece.startswith(b": "):
                pause = max(pause, now - last)
            if not piece.startswith(b": "):
                last = now
    return 1000 * (first - start), 1000 * (last - start), 1000 * pause


def _summary(values: list[tuple[float, float, float]]) -> dict[str, float]:
    first, total, pause = (sorted(v[i] for v in values) for i in range(3))
    return {
        "first_p50": round(median(first), 2),
        "first_p95": round(first[int(0.95 * (len(first) - 1))], 2),
        "total_p50": round(median(total), 2),
        "total_p95": round(total[int(0.95 * (len(total) - 1))], 2),
        **({"pause_p95": round(pause[int(0.95 * (len(pause) - 1))], 2)} if any(pause) else {}),
    }


def _false_alarms(runs: int) -> dict[str, Any]:
    """How many alarms a model of a steady rate raises over 10,000 answers, by gate and level; mean over simulations."""
    watched, answers = load_watched(), 10_000
    rng, found = np.random.default_rng(7), {}
    for gate in (w.gate for w in watched.gates if w.of == "rate"):
        for rate in (gate.value, (1 + gate.value) / 2):
            for level in (0.95, watched.level):
                alarms = [
                    _alarms(rng.random(answers) > rate, watched.answers, gate.value, level)
                    for _ in range(runs)
                ]
                found[f"{gate.id} at {rate:.4g}, level {level}"] = round(float(np.mean(alarms)), 3)
    return found


def _alarms(failed: np.ndarray, window: int, bound: float, level: float) -> int:
    """Alarms with hysteresis, looked at after every answer once the window is full."""
    counts = np.convolve(failed, np.ones(window), "valid").round()
    out = stats.binom.sf(np.arange(window + 1) - 1, window, 1 - bound) <= 1 - level
    back = np.arange(window + 1) / window <= 1 - bound + 1e-12
    ringing, alarms = False, 0
    for count in counts.astype(int):
        if not ringing and out[count]:
            ringing, alarms = True, alarms + 1
        elif ringing and back[count]:
            ringing = False
    return alarms


@contextmanager
def _server() -> Iterator[tuple[str, int]]:
    rest = [TEXT, str(PIECE), str(FIRST_S), str(BETWEEN_S)]
    with _process([sys.executable, "-c", _SERVER], rest, {}) as found:
        yield found


@contextmanager
def _guard(upstream: str, home: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "wfgy_triage", "guard", "--upstream", upstream, "--port"]
    environment = {"WFGY_TRIAGE_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'guard.db'}"}
    with _process(command, [], environment) as found:
        yield found


@contextmanager
def _process(command: list[str], rest: list[str], environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Start it; gives its address and its process."""
    port = _free_port()
    process = subprocess.Popen(
        [*command, str(port), *rest],
        cwd=REPO_ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.post(f"{url}/v1/chat/completions", json={}, timeout=5, trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _print(found: dict[str, Any], alarms: dict[str, float]) -> None:
    print(
        "| answers | arm | first byte p50 / p95, ms | total p50 / p95, ms | pause p95, ms | CPU of the guard, ms |"
    )
    print("|---|---|---|---|---|---|")
    for name, row in found.items():
        for arm in ("direct", "guarded", "ratio"):
            v = row[arm]
            first, total = (f"{v[f'{what}_p50']} / {v[f'{what}_p95']}" for what in ("first", "total"))
            cpu = row["cpu_ms"] if arm == "guarded" else ""
            print(f"| {name} | {arm} | {first} | {total} | {v.get('pause_p95', '')} | {cpu} |")
    print("\n| gate and true rate | alarms in 10,000 answers |\n|---|---|")
    for name, count in alarms.items():
        print(f"| {name} | {count} |")
