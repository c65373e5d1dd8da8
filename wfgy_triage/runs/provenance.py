"""Where a run's numbers come from: the model folders, the engines, the versions. No torch."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from wfgy_triage import __version__
from wfgy_triage.engines.base import EngineInfo
from wfgy_triage.engines.suggested import SidesSampling
from wfgy_triage.errors import ProbeError, TriageError
from wfgy_triage.exl2.headers import folder_tensors, read_json, weights_fingerprint
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.measure.agreement import METRIC_VERSION
from wfgy_triage.pairs import Pair
from wfgy_triage.report.trend import METRICS

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "exllamav2")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# What numbers of one model depend on besides the engine. The fingerprint of the weights samples every tensor; the
# date of the files tells of a change between the samples.
_CONTENT = ("weights_sha256", "weights_modified", "tokenizer_sha256", "config_sha256")
_NUMERIC_PACKAGES = ("wfgy-triage", "torch", "transformers", "tokenizers", "numpy")


def describe_pair(pair: Pair) -> dict[str, Any]:
    """What the two folders hold, as the result's `pair` carries it.

    A folder that is no readable checkpoint is named with the problem, and without hashes.
    """
    return {
        "id": pair.id,
        "name": pair.name,
        "note": pair.note,
        "fp16": _describe_side(pair, "fp16", pair.fp16),
        "exl2": _describe_side(pair, "exl2", pair.exl2),
    }


def with_engines(pair: Mapping[str, Any], fp16: EngineInfo, exl2: EngineInfo) -> dict[str, Any]:
    """Add which engine computed each side."""
    return {
        **pair,
        "fp16": {**pair["fp16"], **_describe_engine(fp16)},
        "exl2": {**pair["exl2"], **_describe_engine(exl2)},
    }


def with_sampling(pair: Mapping[str, Any], sampling: SidesSampling) -> dict[str, Any]:
    """Add with which sampling settings each side is asked, where it is not asked with neutral ones."""
    return {
        **pair,
        "fp16": {**pair["fp16"], "sampling": sampling.fp16.words},
        "exl2": {**pair["exl2"], "sampling": sampling.exl2.words},
    }


def model_hashes(described: Mapping[str, Any]) -> dict[str, str]:
    """One hash for each side that changes with weights, tokenizer or configuration; sides without are left out."""
    found = {}
    for side in ("fp16", "exl2"):
        parts = [described.get(side, {}).get(name) for name in _CONTENT]
        if parts[0]:
            found[side] = hashlib.sha256("/".join(str(p) for p in parts).encode()).hexdigest()
    return found


def refuse_changed_models(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A resumed run must not mix measurements of different models.

    Raises:
        ProbeError: the weights, configuration, tokenizer or template of a side are not those the run began with.
    """
    for side in ("fp16", "exl2"):
        for name in ("weights_sha256", "config_sha256", "tokenizer_sha256", "template_sha256"):
            # What was not written down when the run began cannot be held against it.
            if name in before[side] and before[side][name] != now[side].get(name):
                raise ProbeError(
                    f"The {side.upper()} model of the pair {now['id']!r} was replaced while this run was "
                    f"interrupted ({name} differs). What was measured is kept, but cannot be continued.",
                    "Start a new run.",
                )


def refuse_changed_servers(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The same for a side that is asked on a server: all that is known of its model there is the name.

    Raises:
        ProbeError: the server has another model loaded than when the run began.
    """
    for side in ("fp16", "exl2"):
        first, second = before[side].get("served_model"), now[side].get("served_model")
        if first and second and first != second:
            raise ProbeError(
                f"The server of the {side.upper()} side has another model loaded than when this run began. What was "
                "measured is kept, but cannot be continued.",
                "Load the first model again, or start a new run.",
            )


def refuse_changed_engines(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The same for what computes a side: the pair's engine block may have been edited since.

    Raises:
        ProbeError: a side is computed by another engine, on another kind of device, in another format, with another
            cache of keys and values, or by a server with another model than when the run began.
    """
    refuse_changed_servers(before, now)
    for side in ("fp16", "exl2"):
        # No engine is written down of a pass that could not load the models.
        then, here = (_what_computes(d[side]) for d in (before, now))
        for name in list(then) if here else []:
            if then[name] != here[name]:
                raise ProbeError(
                    f"The {side.upper()} side of the pair {now['id']!r} is computed in another way than when this run "
                    f"began ({name} differs). What was measured is kept, but cannot be continued.",
                    "Put the pair's engine block back as it was, or start a new run.",
                )


def versions() -> dict[str, str]:
    """Versions of everything that can move a number; packages that are not installed are left out."""
    found = {"wfgy-triage": __version__, "python": platform.python_version(), METRICS: str(METRIC_VERSION)}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def number_facts(side: Mapping[str, Any]) -> dict[str, Any]:
    """What a measurement of one side depends on besides engine and request: the model's content and the versions.

    Args:
        side: a side of `describe_pair`; where its folder is plays no role.
    """
    found = versions()
    return {
        "model": {name: side.get(name) for name in _CONTENT},
        "versions": {name: found.get(name) for name in _NUMERIC_PACKAGES},
        "machine": platform.machine(),
    }


def _describe_side(pair: Pair, side: str, folder: Path) -> dict[str, Any]:
    if side not in pair.served or any(folder.glob("*.safetensors")):
        return _describe_folder(folder)
    return {
        "folder": folder.name,
        "kind": "server",
        "weights_sha256": None,
        "tokenizer_sha256": _files_hash(folder, _TOKENIZER_FILES),
        "template_sha256": _template_hash(folder),
    }


def _describe_folder(folder: Path) -> dict[str, Any]:
    try:
        report = inspect_folder(folder)
    except TriageError as error:
        return {
            "folder": folder.name,
            "problem": error.message,
            **dict.fromkeys(("weights_sha256", "tokenizer_sha256", "template_sha256")),
        }
    return {
        "folder": folder.name,
        "kind": report.kind,
        "architecture": report.architecture,
        "decoder_bpw": report.decoder_bpw,
        "head_bpw": report.head_bpw,
        "head_bits": report.head_bits,
        "total_bytes": report.total_bytes,
        "weights_sha256": weights_fingerprint(folder),
        "weights_modified": _weights_modified(folder),
        "tokenizer_sha256": _files_hash(folder, _TOKENIZER_FILES),
        "config_sha256": _files_hash(folder, _CONFIG_FILES),
        "template_sha256": _template_hash(folder),
    }


def _describe_engine(info: EngineInfo) -> dict[str, Any]:
    served = {"served_model": info.architecture} if info.device == "server" else {}
    return {
        **served,
        "engine": info.engine,
        "engine_version": info.engine_version,
        "device": info.device,
        "compute_dtype": info.compute_dtype,
        **({"cache": info.cache} if info.cache else {}),
        "mode": info.mode,
        "deterministic": info.deterministic,
        "memory_bytes": info.memory_bytes,
        "engine_notes": list(info.notes),
    }


def _what_computes(side: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers of a side depend on besides its files; which of several equal devices is not among it."""
    if "engine" not in side:
        return {}
    found = {name: str(side.get(name, "")) for name in ("engine", "device", "compute_dtype", "cache")}
    return {**found, "device": found["device"].partition(":")[0]}


def _weights_modified(folder: Path) -> str:
    """When the newest weight file was last changed, UTC."""
    files = {meta.file for meta in folder_tensors(folder).values()}
    return datetime.fromtimestamp(max(f.stat().st_mtime for f in files), UTC).isoformat()


def _files_hash(folder: Path, names: Sequence[str]) -> str | None:
    """Hash of those files that are there, by name and content; None without any."""
    present = [folder / name for name in names if (folder / name).is_file()]
    if not present:
        return None
    digest = hashlib.sha256()
    for path in present:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _template_hash(folder: Path) -> str | None:
    """Hash of the template's text, wherever it is kept: equal templates have equal hashes."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    config = folder / "tokenizer_config.json"
    template = read_json(config).get("chat_template") if config.is_file() else None
    return None if template is None else hashlib.sha256(str(template).encode()).hexdigest()
