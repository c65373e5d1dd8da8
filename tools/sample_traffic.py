"""Sample traffic for the picture of the guard's page: a stand-in for a model server, and questions for a guard.

The answers are made up; every number on the page comes from the guard, which reads them as it reads any others.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

INVOICES, HELP_DESK, RECORDS = "sample-invoices", "sample-help-desk", "sample-records"
POLICY = {
    "policy": "sample-traffic",
    "rules": [{"id": "records", "model": RECORDS, "citations": "record"}],
}
SCHEMA = {
    "type": "object",
    "properties": {
        "number": {"type": "string"},
        "total": {"type": "number"},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
    },
    "required": ["number", "total", "currency"],
    "additionalProperties": False,
}
TARGET = "Refunds are paid within five working days of the return."
PASSAGES = (
    {"id": "S1", "section": "refunds", "text": TARGET, "target": True},
    {"id": "S2", "section": "delivery", "text": "Parcels leave the warehouse on the day of the order."},
)


@dataclass(frozen=True)
class Exchange:
    """One question and its answer: the model that is asked, what is said, and how the answer ends."""

    model: str
    answer: str
    finish: str = "stop"

    def request(self) -> dict[str, Any]:
        """What a program would send."""
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": "A sample."}]}
        if self.model == INVOICES:
            form = {"name": "invoice", "schema": SCHEMA}
            return body | {"response_format": {"type": "json_schema", "json_schema": form}}
        return body | {"wfgy_snippets": list(PASSAGES)}


class StandIn(ThreadingHTTPServer):
    """Speaks as an OpenAI-compatible server does and gives the answer that was put into `next_answer`."""

    daemon_threads = True
    next_answer: Exchange


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Answer."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = self.server.next_answer
        message = {"role": "assistant", "content": said.answer}
        choice = {"index": 0, "message": message, "finish_reason": said.finish}
        body = json.dumps({"object": "chat.completion", "model": said.model, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def stand_in(port: int) -> Iterator[StandIn]:
    """Serve the stand-in on a thread."""
    server = StandIn(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_policy(folder: Path) -> Path:
    """Write the guard's policy for this traffic."""
    path = folder / "sample-policy.yaml"
    path.write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    return path


def exchanges(count: int, seed: int = 7) -> list[Exchange]:
    """Make up the traffic: citations that go wrong for a while and recover, then JSON that goes wrong and does not."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    found = []
    for number in range(count):
        place = number / count
        model = chance.choices((INVOICES, HELP_DESK, RECORDS), (9, 7, 3))[0]
        bad = 0.16 if place > 0.7 else 0.005
        if model != INVOICES:
            bad = 0.3 if 0.18 < place < 0.36 else 0.01
        found.append(_exchange(model, number, chance.random() < bad, chance))
    return found


def ask_all(guard: str, server: StandIn, traffic: list[Exchange], seconds: float) -> None:
    """Ask one after the other through the guard, spread over a span of time."""
    with httpx.Client(timeout=20, trust_env=False) as client:
        began = time.monotonic()
        for number, exchange in enumerate(traffic):
            server.next_answer = exchange
            client.post(f"{guard}/v1/chat/completions", json=exchange.request()).raise_for_status()
            time.sleep(max(0.0, began + seconds * (number + 1) / len(traffic) - time.monotonic()))


def _exchange(model: str, number: int, bad: bool, chance: random.Random) -> Exchange:
    if model == INVOICES:
        return _invoice(number, bad, chance)
    if model == HELP_DESK:
        mark = chance.choice(("", " [S7]")) if bad else " [S1]"
        return Exchange(model, f"Refunds are paid within five working days of the return{mark}.")
    record = {"snippet_id": "S1", "section_id": "refunds", "quote": "paid within five working days"}
    if bad:
        record.pop("quote")
    return Exchange(model, json.dumps(record))


def _invoice(number: int, bad: bool, chance: random.Random) -> Exchange:
    invoice = {"number": f"R-{1000 + number}", "total": round(chance.uniform(5, 900), 2), "currency": "EUR"}
    text = json.dumps(invoice)
    if not bad:
        return Exchange(INVOICES, text)
    faults = (
        Exchange(INVOICES, json.dumps(invoice | {"total": f"{invoice['total']} EUR"})),
        Exchange(INVOICES, json.dumps({k: v for k, v in invoice.items() if k != "currency"})),
        Exchange(INVOICES, f"Here is the invoice: {text}"),
        Exchange(INVOICES, text[:-9], "length"),
    )
    return chance.choices(faults, (5, 4, 1, 1))[0]
