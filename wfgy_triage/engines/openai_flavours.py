"""Kinds of model servers: what each is known to offer besides the common API. Data; how a kind is told is beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SchemaForm = Literal["json_schema", "response_format"]
NEUTRAL: Mapping[str, Any] = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Sent to every server: what the common API has of samplers besides temperature and top_p."""


@dataclass(frozen=True)
class Flavour:
    """One kind.

    Attributes:
        name: as people call it; empty for a server that does not say what it is.
        owners: what its list of models has under `owned_by`.
        schema: the request option that holds an answer to a JSON schema; None where none is known.
        keep_prompt: request options that keep the server from putting a start token before a prompt that has its own.
        neutral: request options that switch samplers off which the common API does not have.
        tokenize: path of its tokenizer, below the base address or, with `/`, from the root; None where none is known.
        tokenize_body: what is sent there besides the text.
        tokenize_text: the name under which the text is sent.
        model_path: path that tells about the loaded model, below the base address; None where there is none.
        token_ids: whether its completion endpoint is known to take a prompt as token ids and to add nothing to them.
        logprobs: how many alternatives its completion endpoint has to be asked for before it gives the probabilities of
            its own tokens. The common API gives them with 0.
        seeds: whether the seed of a request decides what is drawn.
        caution: a trap of this kind of server that cannot be seen from outside; a reader of the numbers is told.
    """

    name: str = ""
    owners: tuple[str, ...] = ()
    schema: SchemaForm | None = None
    keep_prompt: Mapping[str, Any] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    tokenize: str | None = None
    tokenize_body: Mapping[str, Any] = field(default_factory=dict)
    tokenize_text: str = "text"
    model_path: str | None = None
    token_ids: bool = False
    logprobs: int = 0
    seeds: bool = True
    caution: str = ""


FLAVOURS = (
    Flavour(
        name="TabbyAPI",
        owners=("tabbyapi",),
        schema="json_schema",
        keep_prompt={"add_bos_token": False},
        neutral={"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "token_healing": False},
        tokenize="token/encode",
        tokenize_body={"add_bos_token": False, "encode_special_tokens": True},
        model_path="model",
        logprobs=1,
        seeds=False,  # none of its request options is a seed
        caution="Where flash-attn is missing, TabbyAPI reads prompts without a causal mask, and answers then leave "
        "their instructions out of account. That cannot be seen from here: if its log speaks of a compatibility mode, "
        "trust none of these answers.",
    ),
    Flavour(
        name="vLLM",
        owners=("vllm",),
        schema="response_format",
        keep_prompt={"add_special_tokens": False},
        neutral={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
        tokenize="/tokenize",
        tokenize_body={"add_special_tokens": False},
        tokenize_text="prompt",
    ),
    Flavour(
        name="llama.cpp",
        owners=("llamacpp",),
        schema="json_schema",  # its completion endpoint passes over `response_format`; its chat endpoint takes both
        neutral={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
        tokenize="/tokenize",
        tokenize_body={"add_special": False, "parse_special": True},
        tokenize_text="content",
        token_ids=True,
        logprobs=1,
    ),
)
UNKNOWN = Flavour()


def flavour_of(entry: Mapping[str, Any]) -> Flavour:
    """The kind of server whose list of models has this entry; `UNKNOWN` where it does not tell."""
    owner = str(entry.get("owned_by", "")).lower()
    return next((f for f in FLAVOURS if owner in f.owners), UNKNOWN)
