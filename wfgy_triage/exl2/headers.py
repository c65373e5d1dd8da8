"""The tensors of a model folder and its safety, read without torch.

Knows what may lie in a folder, and which files hold its weights; knows nothing of quantization. Every problem is a
`PrerequisiteError` that names the file and, where there is one, the tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.tensor_file import DOWNLOAD_AGAIN, TensorMeta, read_header

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_SAMPLE_BYTES = 4096
_INDEX = "model.safetensors.index.json"
_COPY = "consolidated"
_linked: dict[Path, Path] = {}
"""Folders made by this process, by the folder whose files their links may name."""


def folder_tensors(folder: Path) -> dict[str, TensorMeta]:
    """Collect the tensors of the folder's safetensors files, without a second copy under other names.

    Raises:
        PrerequisiteError: no file, a tensor stored twice, or an index that places tensors where they are not.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PrerequisiteError(
            f"{folder.name} holds no .safetensors file.", "Give a model folder with safetensors weights."
        )
    maps = _weight_maps(folder, files)
    tensors: dict[str, TensorMeta] = {}
    for path in _without_copy(files, maps):
        for name, meta in read_header(path).items():
            if name in tensors:
                raise PrerequisiteError(
                    f"The tensor {name} is stored twice: in {tensors[name].file.name} and in {path.name}.",
                    "Keep FP16 and EXL2 files in different folders and remove leftovers of other exports.",
                )
            tensors[name] = meta
    for index, weight_map in maps.items():
        _check_index(index, weight_map, tensors)
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the model folder.

    Raises:
        PrerequisiteError: missing file, or not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"{path.parent.name} has no {path.name}.", "Give a complete model folder with its config.json."
        ) from error
    except (OSError, ValueError) as error:
        raise PrerequisiteError(f"{path.name} is not readable JSON: {error}", DOWNLOAD_AGAIN) from error
    if not isinstance(data, dict):
        raise PrerequisiteError(f"{path.name} does not hold a JSON object.", DOWNLOAD_AGAIN)
    return data


def check_folder_safe(folder: Path) -> None:
    """Refuse a folder that carries code, pickles, or links to files outside it.

    Links of a hub cache (`snapshots/<revision>/x` to `blobs/y` of the same repository) are accepted.

    Raises:
        PrerequisiteError: names the first offending file.
    """
    _check_files(folder)
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists() and read_json(folder / name).get("auto_map"):
            raise PrerequisiteError(
                f"{name} asks for custom code (auto_map); only built-in model classes are loaded.",
                "Use a model whose architecture transformers ships.",
            )


@contextmanager
def links_into(folder: Path, origin: Path) -> Iterator[None]:
    """For the time of the block, links in `folder` may lead to files of `origin`, which is checked like any folder.

    The permission lives in this process only: nothing that lies in a folder can grant it.

    Raises:
        PrerequisiteError: `origin` itself holds code, pickles or links out of it.
    """
    _check_files(origin)
    root = folder.resolve()
    _linked[root] = origin.resolve()
    try:
        yield
    finally:
        del _linked[root]


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise PrerequisiteError(f"There is no model folder {folder}.", "Check the path.")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in {".py", ".pyc", ".so"}:
            raise PrerequisiteError(
                f"{path.name} is program code inside a model folder; it is never run here.",
                "Remove it after checking that the model works without custom code.",
            )
        if path.suffix.lower() in _PICKLES:
            raise PrerequisiteError(
                f"{path.name} is a pickle file, which can run code when it is loaded.",
                "Convert the weights to safetensors and remove the pickle.",
            )
        if path.is_symlink() and not _link_is_safe(path, folder):
            raise PrerequisiteError(
                f"{path.name} is a link that leads out of the model folder.",
                "Replace it with the file itself.",
            )


def weights_fingerprint(folder: Path) -> str:
    """Return a SHA-256 over all headers, file sizes and the first 4 KiB of every tensor.

    Fast enough to run before every session, and different for two quantizations of equal layout.
    """
    digest = hashlib.sha256()
    for name, meta in sorted(folder_tensors(folder).items()):
        digest.update(f"{name}|{meta.dtype}|{meta.shape}|{meta.nbytes}|{meta.file.stat().st_size}\n".encode())
        with meta.file.open("rb") as handle:
            handle.seek(meta.offset)
            digest.update(handle.read(min(_SAMPLE_BYTES, meta.nbytes)))
    return digest.hexdigest()


def _weight_maps(folder: Path, files: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """File of every tensor, by the name of the index that says so; an index of other files says nothing here.

    The library's converter copies the index of the FP16 shards beside the files that it writes.
    """
    names = {path.name for path in files}
    found: dict[str, Mapping[str, Any]] = {}
    for index in sorted(folder.glob("*.safetensors.index.json")):
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise PrerequisiteError(f"{index.name} has no weight_map.", DOWNLOAD_AGAIN)
        if any(str(file) in names for file in weight_map.values()):
            found[index.name] = weight_map
    return found


def _without_copy(files: Sequence[Path], maps: dict[str, Mapping[str, Any]]) -> list[Path]:
    """The files that hold the weights; what is left out of `files` leaves `maps` too.

    Mistral's own repositories hold them twice: under transformers' names, and as `consolidated` under others.
    """
    if _INDEX not in maps and not any(path.name.startswith("model") for path in files):
        return list(files)
    for index in [name for name in maps if name.startswith(_COPY)]:
        del maps[index]
    return [path for path in files if not path.name.startswith(_COPY)]


def _check_index(index: str, weight_map: Mapping[str, Any], tensors: Mapping[str, TensorMeta]) -> None:
    for name, file in weight_map.items():
        if name not in tensors:
            raise PrerequisiteError(
                f"{index} places {name} in {file}, but it is not there.", "Download the missing shard."
            )
        if tensors[name].file.name != file:
            raise PrerequisiteError(
                f"{index} places {name} in {file}, but {tensors[name].file.name} holds it.",
                "Remove the leftovers of another export.",
            )


def _link_is_safe(link: Path, folder: Path) -> bool:
    target, root = link.resolve(), folder.resolve()
    if target.is_relative_to(root):
        return True
    origin = _linked.get(root)
    if origin is not None and link.readlink().parent == origin:
        there = link.readlink()
        return not there.is_symlink() or _link_is_safe(there, origin)
    return root.parent.name == "snapshots" and target.is_relative_to(root.parent.parent / "blobs")
