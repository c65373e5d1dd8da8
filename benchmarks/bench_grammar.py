"""The grammar libraries: what of JSON Schema they keep, how fast their masks are, what they cost at the start.

Coverage asks every library about the same values: does a matcher that follows the value's tokens to its end agree with
`jsonschema`? A schema may be refused (honest), a valid value rejected (too strict), or an invalid one let through
(a lock that does not lock). Values are written compactly and with json.dumps' spaces; one accepted form is enough.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from jsonschema import Draft202012Validator

from benchmarks import model_folders
from benchmarks.grammar_peers import Library, Matcher, follows, libraries, percentile
from wfgy_triage.errors import InputError
from wfgy_triage.workload.json_records import load_json_workload

CASES = Path(__file__).parent / "data" / "grammar_cases.json"
OUTCOMES = ("right", "refused", "too_strict", "lets_through")


def run(
    fast: bool = False, fp16: Path | None = None, repeats: int = 3, suite: Path | None = None
) -> dict[str, Any]:
    """Measure and print; see the module."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folders(fp16, None)[0])
    found, absent = libraries(tokenizer, tokenizer.eos_token_id)
    results: dict[str, Any] = {lib.name: _start_up(lib) for lib in found}
    for lib in found:
        results[lib.name]["own cases"] = _coverage(
            lib, tokenizer, json.loads(CASES.read_text(encoding="utf-8"))
        )
        if suite is not None:
            results[lib.name]["suite"] = _coverage(lib, tokenizer, _suite_cases(suite))
        results[lib.name]["masks"] = _masks(lib, tokenizer, 10 if fast else 50, 1 if fast else repeats)
    _print(results, absent)
    return results | {name: {"not_installed": True} for name in absent}


def _start_up(lib: Library) -> dict[str, Any]:
    return {
        "version": lib.version,
        "import_s": round(lib.import_s, 3),
        "tokenizer_s": round(lib.tokenizer_s, 3),
    }


def _suite_cases(folder: Path) -> list[dict[str, Any]]:
    """The draft 2020-12 files of a JSON-Schema-Test-Suite checkout, as cases; verdicts are jsonschema's own."""
    files = sorted((folder / "tests" / "draft2020-12").glob("*.json"))
    if not files:
        raise InputError(f"There is no tests/draft2020-12 in {folder}.", "Name a checkout of the test suite.")
    return [
        {"keyword": path.stem, "schema": group["schema"], "values": [t["data"] for t in group["tests"]],
         "valid": [t["valid"] for t in group["tests"]]}
        for path in files
        if path.stem not in {"refRemote", "vocabulary"}
        for group in json.loads(path.read_text(encoding="utf-8"))
    ]  # fmt: skip


def _coverage(lib: Library, tokenizer: Any, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Count outcomes over values, and name the keywords of refused and of leaky schemas."""
    counts: Counter[str] = Counter()
    keywords: dict[str, set[str]] = {name: set() for name in OUTCOMES}
    for case in cases:
        validator = Draft202012Validator(case["schema"])
        start = _compiled(lib, case["schema"])
        for number, value in enumerate(case["values"]):
            valid = case["valid"][number] if "valid" in case else validator.is_valid(value)
            outcome = _outcome(start, tokenizer, value, valid) if start else "refused"
            counts[outcome] += 1
            keywords[outcome].add(case["keyword"])
    total = sum(counts.values())
    shown = {name: sorted(keywords[name]) for name in OUTCOMES[1:]}
    return {"values": total, **{name: counts[name] for name in OUTCOMES}, "keywords": shown}


def _compiled(lib: Library, schema: Any) -> Callable[[], Matcher] | None:
    try:
        return lib.compile(schema)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a Rust panic is no Exception; any of them is a refusal
        return None


def _outcome(start: Callable[[], Matcher], tokenizer: Any, value: Any, valid: bool) -> str:
    spaced, compact = (
        json.dumps(value, ensure_ascii=False, separators=s) for s in ((", ", ": "), (",", ":"))
    )
    if any(follows(start(), tokenizer.encode(t, add_special_tokens=False)) for t in {spaced, compact}):
        return "right" if valid else "lets_through"
    return "too_strict" if valid else "right"


def _masks(lib: Library, tokenizer: Any, count: int, repeats: int) -> dict[str, Any]:
    """Time compiling and every mask along the right answers of the built-in records, alone and 20 at a time."""
    workload = load_json_workload()
    questions = workload.questions[:count]
    answers = [tokenizer.encode(workload.gold_text(q), add_special_tokens=False) for q in questions]
    starts: dict[str, Callable[[], Matcher]] = {}
    compiled: list[float] = []
    single: list[float] = []
    followed = 0
    for name, found in workload.classes.items():
        begin = time.perf_counter()
        starts[name] = lib.compile(dict(found.schema))
        compiled.append(time.perf_counter() - begin)
    makers = [starts[q.record_class] for q in questions]
    for _ in range(repeats):
        for start, answer in zip(makers, answers, strict=True):
            followed += follows(start(), answer, single)
    batched = _steps(lib, makers[:20], answers[:20]) if lib.masks is not None else []
    return {
        "answers_followed": f"{followed} of {count * repeats}",
        "compile_ms": round(median(compiled) * 1e3, 2),
        "mask_us": round(percentile(single, 50), 1),
        "mask_p99_us": round(percentile(single, 99), 1),
        "mask_max_us": round(percentile(single, 100), 1),
        "mean_us": round(sum(single) / len(single) * 1e6, 1),
        "step_of_20_us": round(percentile(batched, 50), 1) if batched else "no such call",
    }


def _steps(lib: Library, makers: list[Callable[[], Matcher]], answers: list[list[int]]) -> list[float]:
    """Seconds of each step in which all rows get their masks in one call."""
    rows = [start() for start in makers]
    seconds = []
    for step in range(min(map(len, answers))):
        begin = time.perf_counter()
        if lib.masks is not None:
            lib.masks(rows)
        seconds.append(time.perf_counter() - begin)
        for row, answer in zip(rows, answers, strict=True):
            row.push(answer[step])
    return seconds


def _print(results: dict[str, Any], absent: list[str]) -> None:
    first = next(iter(results.values()), None)
    print(
        "| library | import s | tokenizer s | compile ms | mask µs (p50 / p99 / max) | mean µs | 20 rows µs | x mean |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, row in results.items():
        m = row["masks"]
        ratio = m["mean_us"] / first["masks"]["mean_us"] if first else 1.0
        print(
            f"| {name} {row['version']} | {row['import_s']} | {row['tokenizer_s']} | {m['compile_ms']}"
            f" | {m['mask_us']} / {m['mask_p99_us']} / {m['mask_max_us']} | {m['mean_us']} | {m['step_of_20_us']}"
            f" | {ratio:.2f} |"
        )
    for name in absent:
        print(f"| {name} | NOT MEASURED: not installed | | | | | | |")
    for part in ("own cases", "suite"):
        for name, row in results.items():
            if part in row:
                c = row[part]
                numbers = ", ".join(f"{k} {c[k]}" for k in OUTCOMES)
                print(f"{part}, {name}: {c['values']} values: {numbers}")
                print(f"  lets through: {', '.join(c['keywords']['lets_through']) or 'nothing'}")
                print(f"  refuses: {', '.join(c['keywords']['refused']) or 'nothing'}")
