"""Whether a server has read the whole of a prompt: its own count of the prompt's tokens, held against what was sent.

Servers that cut a prompt to their context answer it all the same, with status 200. Read is `usage.prompt_tokens` alone,
which counts what a cache still held (vLLM names that part beside it, in `prompt_tokens_details`); `prompt_n` in
llama.cpp's `timings` counts the new tokens only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wfgy_triage.engines.openai_faults import ServerFault

AskIds = Callable[[str], Awaitable[tuple[int, ...]]]
NO_COUNT = "it does not count the tokens of prompts"
FORGETS = "it leaves out of its count what it remembers of an earlier prompt"
OTHER_TOKENS = "it is not known to turn texts into the same tokens as FP16's tokenizer"


@dataclass(frozen=True)
class PromptCount:
    """Tokens of one prompt that was sent on trial.

    Attributes:
        ours: by FP16's tokenizer, of what was sent.
        theirs: by the server; None where it did not say.
    """

    ours: int
    theirs: int | None


@dataclass(frozen=True)
class PromptCheck:
    """How it is seen that a server has cut a prompt.

    Attributes:
        by: whose tokenizer says how many tokens were sent: `ours` (FP16's) or `theirs` (the server's own, which is
            asked); None where it cannot be seen.
        why_not: the reason then.
    """

    by: Literal["ours", "theirs"] | None
    why_not: str = ""


def prompt_check(
    short: PromptCount, longer: Sequence[PromptCount], *, as_ids: bool, tokenizes: bool
) -> PromptCheck:
    """What a server's counts are good for, from prompts that were sent on trial.

    Args:
        short: a short prompt.
        longer: another one, each time that it was sent; empty where it was not.
        as_ids: prompts are sent as token ids.
        tokenizes: the server's own tokenizer can be asked.
    """
    if not all(count.theirs for count in (short, *longer)):
        return PromptCheck(None, NO_COUNT)
    if len({count.theirs for count in longer}) > 1:
        return PromptCheck(None, FORGETS)
    if as_ids:
        return PromptCheck("ours")
    if tokenizes:
        return PromptCheck("theirs")
    if longer and _more(longer[0].theirs, short.theirs) == longer[0].ours - short.ours:
        # A template or a start token around both is the same, and no part of the difference.
        return PromptCheck("ours")
    return PromptCheck(None, OTHER_TOKENS)


def _more(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one - other


async def demand_whole(
    check: PromptCheck,
    body: Mapping[str, Any],
    read: int | None,
    encode: Callable[[str], Sequence[int]],
    ask_ids: AskIds,
) -> None:
    """Refuse an answer to a prompt that the server has cut.

    Args:
        check: how that is seen.
        body: the request as it was sent.
        read: tokens of the prompt by the server's count; None where it did not say, as for an answer that was ended
            from here.
        encode: FP16's tokenizer, nothing added.
        ask_ids: the server's, nothing added.

    Raises:
        ServerFault: it counts fewer tokens than were sent.
    """
    if check.by is None or not read:
        return
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        sent = len(prompt)
    else:
        texts = sent_texts(body)
        sent = sum(len(encode(text)) for text in texts)
        if read < sent and check.by == "theirs":
            # Only now, since it is a request of its own: tokenizers that differ are another fault than a cut prompt.
            sent = sum([len(await ask_ids(text)) for text in texts])
    if read < sent:
        raise ServerFault(
            f"It counts {read} tokens of the prompt, and at least {sent} were sent: what it answered belongs to a"
            " prompt that was cut, and is not used.",
            "Start the server with a longer context, or put the context that it has into `context:` of its block:"
            " a prompt that does not fit is then refused before it is asked.",
        )


def sent_texts(body: Mapping[str, Any]) -> list[str]:
    """The texts of a request that a server tokenizes: the prompt, or what each message of a conversation says.

    A chat template adds to those, so they are the least that a server has to read; it may strip them.
    """
    if isinstance(body.get("prompt"), str):
        return [body["prompt"]]
    return [str(message["content"]).strip() for message in body.get("messages", ())]
