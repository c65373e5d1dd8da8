"""The checks of a pair of which a side is asked on a server: what can be asked is, the rest says why it is not made.

Apart from `engines.py` and without torch, since the folders' part is also told on machines that load nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import Finding, Outcome, finding, in_order, passed, warned
from wfgy_triage.doctor.samples import SAMPLES
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.openai_facts import UNSEEN, Boot
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import NO_FOLDER, Pair

OPEN = "This says nothing either way: it was not checked."
WHERE = (
    "Run the doctor on the machine that has the folders, or name the folder that the server has loaded in `exl2:` of "
    "the pair."
)
SERVED_TOKENIZER = (
    "Give the server FP16's tokenizer files and load the model again; where the served model is one file that holds "
    "its tokenizer (GGUF), make that file anew. Prompts that are sent as token ids are not touched by it; your own "
    "programs, which send text, are."
)
AskIds = Callable[[Sequence[str]], list[tuple[int, ...]] | None]


def no_folders(pair: Pair) -> tuple[Finding, ...]:
    """The checks of the folders for a pair that has not both of them here."""
    sides = ["EXL2"] if pair.exl2 == NO_FOLDER else ["FP16"]
    why = f"The {sides[0]} side is asked on a server; its model folder is not known here."
    checks = (c.id for c in load_checks().values() if c.group == "folders")
    return in_order(_open(check, why, WHERE) for check in checks)


def check_served(fp16: Engine, exl2: Engine) -> tuple[Finding, ...]:
    """The checks of the running models, in the order of the ladder."""
    sides = (("FP16", fp16), ("EXL2", exl2))
    asked = [name for name, engine in sides if engine.capabilities.served]
    servers = " and ".join(asked)
    plural = "s of the" if len(asked) > 1 else " of the"
    why = f"The server{plural} {servers} side{'s' if len(asked) > 1 else ''}"
    return in_order(
        (
            passed("models_load", "; ".join(f"{name} {_runs(engine)}" for name, engine in sides) + "."),
            token_ids_finding([(n, e) for n, e in sides if e.capabilities.served]),
            boot_finding([(n, e) for n, e in sides if e.capabilities.served]),
            _open(
                "loaded_chat_template",
                f"{why} cannot be asked for a rendered conversation. Prompts are framed with FP16's template, except "
                "where the notes of the side say otherwise.",
                "Compare the server's template with FP16's chat_template.jinja.",
            ),
            _open(
                "causal_attention",
                f"{why} gives no probabilities of a given text, which this check compares.",
                "Run the doctor where the folder can be loaded.",
            ),
            finding(
                "only_weights_differ",
                Outcome.WARN,
                f"The {servers} side runs on a server: engine, numerics, cache and load are not known here, so a "
                "difference may come from any of them as well as from the weights.",
            ),
        )
    )


def boot_finding(served: Sequence[tuple[str, Engine]]) -> Finding:
    """Whether the servers had their models loaded before the first request: boot order, as far as they tell it."""
    seen, silent = [], []
    for name, engine in served:
        boot: Boot = getattr(engine, "boot", UNSEEN)
        if boot.loaded is False:
            seen.append(
                f"The server of the {name} side did not have this model loaded when it was first asked; it had after "
                "its first answer."
            )
        if boot.put_off:
            seen.append(
                f"The server of the {name} side was not ready at first, or did not answer; requests repeated up to its "
                f"first answer: {boot.put_off}."
            )
        if boot.loaded is None:
            silent.append(name)
    if seen:
        return warned("boot_order", " ".join(seen))
    if silent:
        return _open(
            "boot_order",
            f"The server of the {silent[0]} side is not known to say when it has loaded its model.",
            "Let your server answer one short request itself before it is announced as ready.",
        )
    return passed(
        "boot_order",
        "The model was loaded before this program's first request, and nothing up to its first answer had to be asked "
        "twice.",
    )


def no_boot() -> Finding:
    """The same where this program loads both sides itself."""
    return _open(
        "boot_order",
        "This program loads both sides itself and asks them only then, so there is no start of a server to be seen.",
        "Check the pair with its server, once you serve it.",
    )


def _runs(engine: Engine) -> str:
    if engine.capabilities.served:
        return f"answers on a server as “{engine.info.architecture}”"
    return f"on {engine.info.engine}, {engine.info.device}"


def token_ids_finding(served: Sequence[tuple[str, Engine]]) -> Finding:
    """Whether the servers' tokenizers give what FP16's gives, where they can be asked."""
    silent = []
    for name, engine in served:
        ask: AskIds | None = getattr(engine, "server_token_ids", None)
        try:
            found = ask(SAMPLES) if ask is not None else None
        except PrerequisiteError as error:
            return _open("loaded_token_ids", error.message, error.hint)
        if found is None:
            silent.append(name)
            continue
        for text, ids in zip(SAMPLES, found, strict=True):
            if ids != engine.encode(text):
                return finding(
                    "loaded_token_ids",
                    Outcome.FAIL,
                    f"The text {text[:40]!r} gets different token ids from the server of the {name} side than from "
                    "FP16's tokenizer.",
                    do=SERVED_TOKENIZER,
                )
    if silent:
        return _open(
            "loaded_token_ids",
            f"The server of the {silent[0]} side is not known to offer its tokenizer.",
            "Compare the tokenizer files with FP16's where the server runs.",
        )
    return passed(
        "loaded_token_ids",
        f"{len(SAMPLES)} sample texts get the same token ids from FP16's tokenizer and the server's.",
    )


def _open(check: str, why: str, do: str) -> Finding:
    return finding(check, Outcome.SKIPPED, why, means=OPEN, do=do)
