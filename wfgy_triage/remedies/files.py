"""Changes of files in the EXL2 folder, read off the doctor's failed checks: what FP16's folder says is put in.

Each remedy makes one kind of change; `fix_all` makes all of them, for folders with more than one fault. The doctor has
compared the folders already: values come from its findings, and a remedy looks at files only to say which to copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.configuration import end_tokens
from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.doctor.side import Side
from wfgy_triage.doctor.texts import TextSide
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError
from wfgy_triage.remedies.overlay import COPY, changed_files, overlay

Patch = Mapping[str, Any]
Found = Sequence[tuple[str, str, Patch]]
"""Suffix of the candidate's id, label, patch."""
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt",
)  # fmt: skip
TOKENIZER_CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
_TOKENIZER_CHECKS = (
    "same_token_ids", "tokenizer_files", "tokenizer_fits", "same_added_tokens", "single_start_token",
    "loaded_token_ids",
)  # fmt: skip
_TEMPLATE_CHECKS = ("same_chat_template", "answer_prompt", "loaded_chat_template")
_CONFIG_CHECKS = ("same_architecture", "same_vocabulary", "same_settings", "same_tie", "same_context")
_ROPE_CHECKS = ("rope_supported", "same_rope")
"""The later one goes first where both set a value: FP16's scaling is right in form too."""


@dataclass(frozen=True)
class Folders:
    """The two folders of a case, and what the doctor found wrong with them."""

    case: Case

    @cached_property
    def fp16(self) -> Side:
        """The baseline's folder."""
        return Side("FP16", self.case.pair.fp16)

    @cached_property
    def exl2(self) -> Side:
        """The quantized folder."""
        return Side("EXL2", self.case.pair.exl2)

    @cached_property
    def failed(self) -> Mapping[str, Finding]:
        """Failed checks by id."""
        return {f.check: f for f in self.case.context.findings if f.state is Outcome.FAIL}

    def failing(self, checks: Sequence[str], otherwise: str) -> list[Finding]:
        """The failed ones of some checks.

        Raises:
            NotApplicableError: none of them failed; the message is `otherwise`.
        """
        found = [self.failed[c] for c in checks if c in self.failed]
        if not found:
            raise NotApplicableError(otherwise)
        return found

    def differing(self, names: Sequence[str]) -> list[str]:
        """Files of the FP16 folder that the EXL2 folder lacks or has with another content."""
        return [n for n in names if _content(self.fp16, n) not in (None, _content(self.exl2, n))]


class FileRemedy:
    """A remedy that changes files.

    Args:
        remedy_id: id of the fix map.
        find: what to change; raises NotApplicableError where there is nothing.
    """

    def __init__(self, remedy_id: str, find: Callable[[Folders], Found]) -> None:
        self.id, self._find = remedy_id, find

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One for each change that the doctor's findings ask for."""
        return [
            Candidate(f"{self.id} {suffix}".strip(), self.id, label, patch)
            for suffix, label, patch in self._find(Folders(case))
        ]

    @contextmanager
    def patched(self, case: Case, candidate: Candidate) -> Iterator[Path]:
        """The EXL2 folder with the change, for the time of the block."""
        files = changed_files(case.pair, candidate.patch)
        with overlay(case.pair.exl2, files, case.shop.folder / "overlays") as folder:
            yield folder

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """That folder, loaded."""
        with self.patched(case, candidate) as folder:
            engine = case.shop.open_exl2(folder)
            try:
                yield Change(engine)
            finally:
                engine.close()


def _rope(folders: Folders) -> Found:
    found = folders.failing(_ROPE_CHECKS, "The position settings of the two folders agree.")
    return [("", "Set the position encoding as in the FP16 model", _config_values(found))]


def _config(folders: Folders) -> Found:
    """Unreadable files first: without them nothing else is known. Then one candidate for each failed check."""
    if "config_readable" in folders.failed:
        return [_restored(folders)]
    found = folders.failing(_CONFIG_CHECKS, "config.json says the same as the FP16 model's.")
    changes = []
    for finding in found:
        patch = _config_values([finding])
        names = ", ".join(key.removeprefix("config.") for key in patch)
        changes.append((finding.check, f"Set {names} in config.json as in the FP16 model", patch))
    return changes


def _restored(folders: Folders) -> tuple[str, str, Patch]:
    def files(side: Side) -> dict[str, bool]:
        """By name: whether the file is fit for use."""
        config = side.config_file
        others = {
            "generation_config.json": side.generation_file,
            TOKENIZER_CONFIG: side.tokenizer_config_file,
        }
        return {
            "config.json": config.present and not config.problem,
            **{name: not file.problem for name, file in others.items()},
        }

    ours, theirs = files(folders.fp16), files(folders.exl2)
    names = [n for n, fit in theirs.items() if not fit]
    lost = [n for n in names if not ours[n] or _content(folders.fp16, n) is None]
    if lost or not names:
        raise NotApplicableError("The FP16 folder has no readable file to put in its place.")
    return "readable", f"Restore {', '.join(names)} from the FP16 folder", {COPY: names}


def _tokenizer(folders: Folders) -> Found:
    folders.failing(_TOKENIZER_CHECKS, "Both folders turn text into the same token ids.")
    names = folders.differing(TOKENIZER_FILES)
    if not names:
        raise NotApplicableError("The tokenizer files of the two folders are the same.")
    if TOKENIZER_CONFIG in names and not (folders.exl2.folder / TEMPLATE).is_file():
        # The file that is replaced may hold the only template.
        names += folders.differing([TEMPLATE])
    return [("", "Copy the tokenizer files of the FP16 model", {COPY: names})]


def _template(folders: Folders) -> Found:
    folders.failing(_TEMPLATE_CHECKS, "Both folders frame a conversation the same way.")
    if folders.case.subject.items:
        raise NotApplicableError(
            "Both models get the prompts that the FP16 model's template made, so EXL2's template did not cause what "
            "was measured here."
        )
    ours, theirs = TextSide(folders.fp16), TextSide(folders.exl2)
    if ours.template is None:
        raise NotApplicableError("The FP16 folder holds no chat template to copy.")
    if ours.template == theirs.template:
        raise NotApplicableError(
            "Both folders hold the same template; only the special tokens it uses differ."
        )
    if (folders.fp16.folder / TEMPLATE).is_file():
        name = TEMPLATE
    elif (folders.exl2.folder / TEMPLATE).is_file():
        raise NotApplicableError(
            f"The FP16 model keeps its template in {TOKENIZER_CONFIG}; the {TEMPLATE} of the EXL2 folder goes before "
            "it. Remove that file by hand, then check again."
        )
    else:
        name = TOKENIZER_CONFIG
    return [("", "Copy the chat template of the FP16 model", {COPY: [name]})]


def _ends(folders: Folders) -> Found:
    (finding,) = folders.failing(
        ["same_special_tokens"], "The ids of start and end tokens are the same on both sides."
    )
    values = finding.patch.values if finding.patch else {}
    patch: dict[str, Any] = {}
    name = "generation_config.json"
    if "bos_token_id" in values:
        patch["config.bos_token_id"] = values["bos_token_id"] or None
        if "bos_token_id" in folders.exl2.generation_file.data:
            # It goes before config.json, and this vocabulary sets no start token in it.
            patch[COPY] = folders.differing([name])
    if "eos_token_id" in values:
        if values["eos_token_id"] == []:
            raise NotApplicableError("The FP16 model names no end token that could be set.")
        patch["generation_config.eos_token_id"] = values["eos_token_id"]
        stated = [end_tokens(side).get("config.json") for side in (folders.fp16, folders.exl2)]
        if stated[0] and stated[0] != stated[1]:
            patch["config.eos_token_id"] = folders.fp16.config["eos_token_id"]
    return [
        ("", "Set start and end tokens as in the FP16 model", {k: v for k, v in patch.items() if v != []})
    ]


def _everything(folders: Folders) -> Found:
    """All changes of all other remedies; nothing where one of them is the same change."""
    union: dict[str, Any] = {}
    single = []
    for remedy_id, find in _SINGLE.items():
        try:
            changes = find(folders)
        except NotApplicableError:
            continue
        for _, _, patch in changes:
            single.append((remedy_id, dict(patch)))
            copied = [*union.get(COPY, ()), *patch.get(COPY, ())]
            union |= patch
            if copied:
                union[COPY] = list(dict.fromkeys(copied))
    if not union:
        raise NotApplicableError("No failed check asks for a change of files.")
    own = load_catalog().causes[folders.case.diagnosis.cause].remedies
    if any(remedy_id in own and patch == union for remedy_id, patch in single):
        raise NotApplicableError("There is one change of files only, and it was tried by itself.")
    return [("", "All file changes together", union)]


def _config_values(found: Sequence[Finding]) -> dict[str, Any]:
    """The values that the doctor would set in config.json, as keys of a patch.

    Raises:
        NotApplicableError: the findings name none.
    """
    patches = [f.patch for f in found if f.patch is not None and f.patch.target == "config.json"]
    values = {f"config.{key}": value for patch in patches for key, value in patch.values.items()}
    if not values:
        raise NotApplicableError("The failed check names no value that could be set.")
    return values


def _content(side: Side, name: str) -> bytes | None:
    try:
        return (side.folder / name).read_bytes()
    except OSError:
        return None


_SINGLE: Mapping[str, Callable[[Folders], Found]] = {
    "fix_config": _config,
    "fix_rope": _rope,
    "fix_tokenizer": _tokenizer,
    "fix_template": _template,
    "stop_tokens": _ends,
}
REMEDIES = {name: FileRemedy(name, find) for name, find in {**_SINGLE, "fix_all": _everything}.items()}
