"""Two scripted model servers as the sides of a pair, and a probe that asks them over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.responses import Response

from tests.engines.stub_server import Answer, Stub, says
from tests.probes.desk import Bench
from wfgy_triage.engines.openai_engine import ServedEngine
from wfgy_triage.engines.openai_loading import open_served
from wfgy_triage.probes.base import Probe, ProbeSettings
from wfgy_triage.server_settings import ServerSettings


def by_prompt(texts: dict[str, str]) -> Answer:
    """Answers each prompt with its own text; the opening question with something."""

    def answer(body: dict[str, Any]) -> Response:
        return says(texts.get(body.get("prompt", ""), "hello"))(body)

    return answer


def engine_on(stub: Stub, folder: Path, side: str, **settings: Any) -> ServedEngine:
    return open_served(
        ServerSettings(stub.url, **{"retries": 1, **settings}),
        folder,
        side=side,
        mode="reproducible",  # type: ignore[arg-type]
    )


def bench_of(
    probe: Probe,
    stubs: tuple[Stub, Stub],
    folder: Path,
    answers: Callable[[ServedEngine], tuple[dict[str, str], dict[str, str]]],
    questions: int,
    **settings: Any,
) -> Bench:
    """A bench whose FP16 and EXL2 answer the prompts of `answers(engine)`, which maps them to texts."""
    fp16, exl2 = (engine_on(s, folder, n, **settings) for s, n in zip(stubs, ("fp16", "exl2"), strict=True))
    for stub, texts in zip(stubs, answers(fp16), strict=True):
        stub.otherwise = by_prompt(texts)
    twin = engine_on(stubs[0], folder, "fp16", **settings)
    return Bench(probe, fp16, exl2, twin, ProbeSettings(questions=questions))
