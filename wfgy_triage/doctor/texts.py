"""Rung 1: does the same text become the same token ids, and the same conversation the same prompt?

Works on tokenizer.json and the template alone, so that it also works where a model cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from wfgy_triage.doctor.finding import Finding, failed, passed, skipped, warned
from wfgy_triage.doctor.patches import json_patch
from wfgy_triage.doctor.samples import CHATS, SAMPLES
from wfgy_triage.doctor.side import Side, read_json_file


@dataclass(frozen=True)
class TextSide:
    """The tokenizer and the template of one folder."""

    side: Side

    @cached_property
    def loaded(self) -> Tokenizer | str:
        """The tokenizer, or why tokenizer.json gives none."""
        path = self.side.folder / "tokenizer.json"
        if not path.is_file():
            return f"{self.side.folder.name} has no tokenizer.json."
        try:
            return Tokenizer.from_file(str(path))
        # The tokenizers library raises bare Exception for every fault of the file.
        except Exception as error:
            return f"{path.name} cannot be read: {str(error)[:160]}"

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; only where `loaded` is one."""
        if isinstance(self.loaded, str):
            raise RuntimeError(self.loaded)
        return self.loaded

    @cached_property
    def template(self) -> str | None:
        """The chat template: chat_template.jinja, else the one in tokenizer_config.json."""
        file = self.side.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace")
        stored = self.side.tokenizer_config_file.data.get("chat_template")
        if isinstance(stored, list):
            named = {t.get("name"): t.get("template") for t in stored if isinstance(t, Mapping)}
            stored = named.get("default")
        return stored if isinstance(stored, str) else None

    @cached_property
    def markers(self) -> dict[str, str]:
        """Texts of the special tokens that a template may use, such as `bos_token`."""
        stored = {
            **read_json_file(self.side.folder / "special_tokens_map.json").data,
            **self.side.tokenizer_config_file.data,
        }
        found = {}
        for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
            value = stored.get(name)
            value = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(value, str):
                found[name] = value
        return found

    def render(self, chat: list[dict[str, str]], answer: bool = True) -> str:
        """The conversation as the template frames it, or the template's own complaint."""
        try:
            texts: Any = render_jinja_template(
                [chat], chat_template=self.template, add_generation_prompt=answer, **self.markers
            )
        except (TemplateError, TypeError, ValueError, AttributeError, KeyError) as error:
            return f"[error] {error}"
        first = texts[0]
        while isinstance(first, list):
            first = first[0]
        return str(first)


def check_texts(fp16: Side, exl2: Side) -> list[Finding]:
    """All checks of tokenizers and templates."""
    ours, theirs = TextSide(fp16), TextSide(exl2)
    return [
        _files(ours, theirs),
        *_tokenizers(ours, theirs),
        _template(ours, theirs),
        _answer_prompt(ours, theirs),
        _start_token(ours, theirs),
    ]


def _files(ours: TextSide, theirs: TextSide) -> Finding:
    if isinstance(theirs.loaded, str):
        return failed("tokenizer_files", f"EXL2: {theirs.loaded}")
    if isinstance(ours.loaded, str):
        return warned("tokenizer_files", f"FP16: {ours.loaded}")
    return passed("tokenizer_files", "tokenizer.json is readable on both sides.")


def _tokenizers(ours: TextSide, theirs: TextSide) -> list[Finding]:
    if isinstance(theirs.loaded, str):
        checks = ("same_token_ids", "tokenizer_fits", "same_added_tokens")
        return [skipped(check, f"EXL2: {theirs.loaded}") for check in checks]
    fits = _fits(theirs)
    if isinstance(ours.loaded, str):
        return [fits, *(skipped(c, f"FP16: {ours.loaded}") for c in ("same_token_ids", "same_added_tokens"))]
    return [_ids(ours, theirs), fits, _added(ours, theirs)]


def _ids(ours: TextSide, theirs: TextSide) -> Finding:
    for text in SAMPLES:
        a, b = (s.tokenizer.encode(text, add_special_tokens=False).ids for s in (ours, theirs))
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            shown = text if len(text) <= 40 else f"{text[:40]}…"
            return failed(
                "same_token_ids",
                f"The tokenizers turn the text {shown!r} into different token ids, from token {at + 1} on: "
                f"FP16 {a[at : at + 4]}, EXL2 {b[at : at + 4]}.",
            )
    return passed(
        "same_token_ids", f"Both tokenizers turn {len(SAMPLES)} sample texts into the same token ids."
    )


def _fits(theirs: TextSide) -> Finding:
    rows = theirs.side.config.get("vocab_size")
    highest = max(theirs.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if isinstance(rows, int) and highest >= rows:
        seen = f"The EXL2 tokenizer knows the id {highest}; the model has rows 0 to {rows - 1}."
        return failed("tokenizer_fits", seen)
    return passed("tokenizer_fits", f"The highest token id is {highest}; the model has {rows} rows.")


def _added(ours: TextSide, theirs: TextSide) -> Finding:
    a, b = (_added_tokens(s.tokenizer) for s in (ours, theirs))
    differing = sorted(set(a.items()) ^ set(b.items()))
    names = list(dict.fromkeys(text for text, _ in differing))
    if names:
        told = "; ".join(f"{n!r}: FP16 {_place(a.get(n))}, EXL2 {_place(b.get(n))}" for n in names[:4])
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return failed("same_added_tokens", f"{told}{more}.")
    changed = sorted(
        k for k in {*ours.markers, *theirs.markers} if ours.markers.get(k) != theirs.markers.get(k)
    )
    changed = [k for k in changed if k in ("bos_token", "eos_token")]
    if changed:
        told = "; ".join(f"{k}: FP16 {ours.markers.get(k)}, EXL2 {theirs.markers.get(k)}" for k in changed)
        patch = json_patch("tokenizer_config.json", {k: ours.markers.get(k) for k in changed})
        return failed("same_added_tokens", f"{told}.", patch)
    return passed("same_added_tokens", f"{len(a)} added tokens, the same on both sides.")


def _added_tokens(tokenizer: Tokenizer) -> dict[str, tuple[int, bool]]:
    return {t.content: (i, t.special) for i, t in tokenizer.get_added_tokens_decoder().items()}


def _place(entry: tuple[int, bool] | None) -> str:
    if entry is None:
        return "absent"
    return f"id {entry[0]}{'' if entry[1] else ', not special'}"


def _template(ours: TextSide, theirs: TextSide) -> Finding:
    if ours.template is None and theirs.template is None:
        return warned("same_chat_template", "Neither folder holds a chat template.")
    for name, side in (("FP16", ours), ("EXL2", theirs)):
        if side.template is None:
            return failed(
                "same_chat_template", f"The {name} folder holds no chat template, the other one does."
            )
    for chat in CHATS:
        a, b = ours.render(chat), theirs.render(chat)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            start = max(0, at - 12)
            return failed(
                "same_chat_template",
                f"A sample conversation is framed differently from character {at + 1} on: "
                f"FP16 {a[start : at + 28]!r}, EXL2 {b[start : at + 28]!r}.",
            )
    broken = [c for c in CHATS if theirs.render(c).startswith("[error]")]
    if len(broken) == len(CHATS):
        return skipped("same_chat_template", f"Both templates fail alike: {theirs.render(CHATS[0])[8:160]}")
    return passed("same_chat_template", f"{len(CHATS)} sample conversations are framed alike on both sides.")


def _answer_prompt(ours: TextSide, theirs: TextSide) -> Finding:
    if theirs.template is None:
        return skipped("answer_prompt", "The EXL2 folder holds no chat template.")
    opens = [
        s.template is not None and s.render(CHATS[0], True) != s.render(CHATS[0], False)
        for s in (ours, theirs)
    ]
    if opens[1]:
        return passed("answer_prompt", "EXL2's template ends with the opening of the assistant's turn.")
    if opens[0]:
        return failed(
            "answer_prompt", "With add_generation_prompt FP16's template opens the answer, EXL2's does not."
        )
    return warned("answer_prompt", "add_generation_prompt changes nothing on either side.")


def _start_token(ours: TextSide, theirs: TextSide) -> Finding:
    doubled = [_doubles_start(s) for s in (ours, theirs)]
    if isinstance(theirs.loaded, str):
        return skipped("single_start_token", f"EXL2: {theirs.loaded}")
    if doubled[1] is None:
        return passed("single_start_token", "The EXL2 side has no start token or no template to hold one.")
    if not doubled[1]:
        return passed(
            "single_start_token", "Encoding a rendered conversation on the EXL2 side gives one start token."
        )
    if doubled[0]:
        return warned("single_start_token", "On both sides tokenizer and template each add the start token.")
    patch = json_patch("tokenizer_config.json", {"add_bos_token": False})
    return failed(
        "single_start_token",
        "On the EXL2 side the tokenizer adds the start token to a conversation that begins with it already; "
        "on the FP16 side it comes once.",
        patch,
    )


def _doubles_start(side: TextSide) -> bool | None:
    """Whether encoding a rendered conversation as text gives two start tokens; None where that cannot be told."""
    start = side.markers.get("bos_token")
    if isinstance(side.loaded, str) or side.template is None or not start:
        return None
    number = side.tokenizer.token_to_id(start)
    if number is None:
        return None
    ids = side.tokenizer.encode(side.render(CHATS[0]), add_special_tokens=True).ids
    if side.side.tokenizer_config_file.data.get("add_bos_token") is True and not _adds_start(side, number):
        ids = [number, *ids]
    return ids[:2] == [number, number]


def _adds_start(side: TextSide, number: int) -> bool:
    return side.tokenizer.encode("x", add_special_tokens=True).ids[:1] == [number]
