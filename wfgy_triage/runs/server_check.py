"""Whether the servers of a pair can be asked: what they say, in plain lines, with a few short answers as proof."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from wfgy_triage.engine_settings import Side, engine_settings
from wfgy_triage.engines.openai_facts import SHOWN_MODELS, ask_facts
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.server_settings import ServerSettings

SIDES: tuple[Side, ...] = ("fp16", "exl2")


@dataclass(frozen=True)
class ServerCheck:
    """What came of asking one side's server.

    Attributes:
        side: `FP16` or `EXL2`.
        url: the address, for the admin who wrote it.
        answers: whether it gave an answer.
        lines: what it said, or what went wrong and what to do.
    """

    side: str
    url: str
    answers: bool
    lines: tuple[str, ...]


def check_servers(pair: Pair) -> tuple[ServerCheck, ...]:
    """Ask every server of a pair for its models and for a few short answers; nothing is loaded here.

    Raises:
        InputError: the pair's engine block is wrong, or names no server.
    """
    settings = engine_settings(pair.engine, pair.id)
    servers = [(side, server) for side in SIDES if (server := settings.server_of(side)) is not None]
    if not servers:
        raise InputError(
            f"No side of the pair {pair.id!r} is asked on a server.",
            "`python -m wfgy_triage doctor --pair ID` checks folders.",
        )
    return tuple(_check(pair, side, server) for side, server in servers)


def _check(pair: Pair, side: Side, server: ServerSettings) -> ServerCheck:
    name = side.upper()
    lines: list[str] = []
    try:
        facts = ask_facts(server, "It cannot be used.")
        some = ", ".join(facts.models[:SHOWN_MODELS])
        more = f" and {len(facts.models) - SHOWN_MODELS} more" if len(facts.models) > SHOWN_MODELS else ""
        lines += [
            f"It answers, and is {facts.flavour.name or 'a kind of server that does not say what it is'}.",
            f"Models: {some}{more}. Asked is {facts.shown}.",
        ]
        lines += _answer(pair, side, server)
    except PrerequisiteError as error:
        return ServerCheck(
            name, server.url, False, (*lines, error.message, *([error.hint] if error.hint else []))
        )
    return ServerCheck(name, server.url, True, tuple(lines))


def _answer(pair: Pair, side: Side, server: ServerSettings) -> list[str]:
    # Transformers comes with these, for the tokenizer.
    from wfgy_triage.doctor.served import token_ids_finding
    from wfgy_triage.engines.openai_loading import open_served

    with closing(open_served(server, pair.fp16, side=side, mode="reproducible")) as engine:
        tokens = token_ids_finding([(side.upper(), engine)])
        able = engine.capabilities.grammar
        return [
            "It has answered a short question.",
            *engine.info.notes,
            f"Texts of up to {engine.info.max_context:,} tokens.",
            f"Same token ids: {str(tokens.state).lower()}. {tokens.seen}",
            f"Answers held to a JSON schema: {'offered' if able else 'not known to be offered'}.",
        ]
