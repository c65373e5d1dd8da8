"""A Python script that generates with exllamav2 0.3.2, the change in place.

The pieces are in `python_parts`; this file chooses them and puts the values in. Every value is written as a Python
literal, so nothing in a patch or a folder name can become code.
"""

from __future__ import annotations

import pprint

from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import JSON, Share
from wfgy_triage.remedies.renders import python_parts as parts
from wfgy_triage.remedies.renders.header import header
from wfgy_triage.remedies.renders.yaml_files import whole_pages

_CACHES = {
    "FP16": "ExLlamaV2Cache",
    "Q8": "ExLlamaV2Cache_Q8",
    "Q6": "ExLlamaV2Cache_Q6",
    "Q4": "ExLlamaV2Cache_Q4",
}
_LOCKS = ("json_schema", "regex", "lark")
_CHAIN = ("segment_steps", "anchor_every")
_NEUTRAL: dict[str, JSON] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "token_repetition_penalty": 1.0}
"""The library's own defaults are not neutral (0.8, 50, 0.8, 1.025)."""
_WIDTH = 100


def script(share: Share, facts: Facts) -> str:
    """The whole script: load the model, ask one question, print the answer."""
    named = share.named()
    sampler = {share.at[key]: value for key, value in share.values.items() if key.startswith("sampler.")}
    chain = next((name for name in _CHAIN if name in named), None)
    lock = next((name for name in _LOCKS if name in named), None)
    cache = _CACHES[str(named.get("cache_mode", "FP16"))]
    sections = [
        _environment(named.get("no_sdpa")),
        _imports(cache, chain is not None, lock, "paths" in named),
        _constants(named, facts, chain, lock),
        _load(cache, named),
        _settings(sampler, "paths" in named),
        parts.LOCK if lock else parts.NO_LOCK,
        parts.RENDER + parts.BOS,
        *([parts.LINES, parts.CHAIN[chain]] if chain else [parts.ANSWER]),
        *([parts.VOTE] if "paths" in named else []),
        *([parts.WARM_UP] if "warm_up_tokens" in named else []),
        _main(named),
    ]
    return header(share, _notes(share, lock)) + "\n" + "\n".join(sections)


def _notes(share: Share, lock: str | None) -> list[str]:
    needs = "a GPU, exllamav2 with its compiled extension, and transformers for the chat template"
    notes = [f"Needs {needs}{' and llguidance for the lock' if lock else ''}."]
    return [*notes, f'Usage: python {share.target.file} "your question"']


def _environment(no_sdpa: JSON | None) -> str:
    if no_sdpa is False:
        return 'import os\n\nos.environ.pop("EXLLAMA_NO_SDPA", None)  # has to come before the import\n'
    note = (
        "# Used where flash-attn and xformers are missing, PyTorch's attention has no causal mask for prompts in the\n"
        "# sources of exllamav2 0.2.9 to 0.3.2.\n"
    )
    return f'import os\n\n{note}os.environ["EXLLAMA_NO_SDPA"] = "1"  # has to come before the import\n'


def _imports(cache: str, chain: bool, lock: str | None, vote: bool) -> str:
    names = ", ".join(sorted(["ExLlamaV2", cache, "ExLlamaV2Config", "ExLlamaV2Tokenizer"]))
    job = ", ExLlamaV2DynamicJob" if chain else ""
    lines = [
        "import sys",
        *(["from collections import Counter"] if vote else []),
        "",
        f"from exllamav2 import {names}",
        f"from exllamav2.generator import ExLlamaV2DynamicGenerator{job}, ExLlamaV2Sampler",
        *([parts.LOCK_IMPORTS] if lock else []),
        "from transformers import AutoTokenizer",
    ]
    return "\n".join(lines) + "\n"


def _constants(named: dict[str, JSON], facts: Facts, chain: str | None, lock: str | None) -> str:
    lines = [f"MODEL = {facts.exl2!r}", "MAX_NEW_TOKENS = 512"]
    if lock:
        lines += [_assigned(lock.upper(), named[lock]), parts.LOCK_CONSTANTS[lock]]
    if "contract" in named:
        lines.append(_assigned("CONTRACT", named["contract"]))
    if chain:
        lines += [f"STEPS = {named[chain]!r}  # lines", "MOST_LINES = 200"]
        lines += [f"RESTATED = {parts.RESTATED}"] if chain == "segment_steps" else []
    if "paths" in named:
        lines.append(f"PATHS = {named['paths']!r}")
    if "warm_up_tokens" in named:
        lines.append(f"WARM_UP_TOKENS = {named['warm_up_tokens']!r}")
    return "\n".join(lines) + "\n"


def _assigned(name: str, value: JSON) -> str:
    text = pprint.pformat(value, width=_WIDTH, sort_dicts=False)
    return f"{name} = {text}" if "\n" not in text or text[0] in "[{(" else f"{name} = (\n{text}\n)"


def _load(cache: str, named: dict[str, JSON]) -> str:
    tokens = named.get("max_seq_len")
    lines = ["config = ExLlamaV2Config(MODEL)", "config.arch_compat_overrides()"]
    if named.get("no_sdpa") is not None:
        lines.append(f"config.no_sdpa = {named['no_sdpa']!r}")
    if isinstance(tokens, int):
        lines.append(f"config.max_seq_len = {tokens}")
        size = str(whole_pages(tokens))
    else:
        size = "-(-config.max_seq_len // 256) * 256"
    stop = named.get("eos_token_id")
    stop = [stop] if isinstance(stop, int) else stop
    return parts.LOAD.format(
        config="\n".join(lines),
        cache=cache,
        size=size,
        stop=parts.STOP if stop is None else f"STOP = {stop!r}",
    )


def _settings(sampler: dict[str, JSON], vote: bool) -> str:
    if not sampler and not vote:
        return "def settings():\n    return ExLlamaV2Sampler.Settings.greedy()\n\n"
    values = {**_NEUTRAL, **sampler}
    inner = "".join(f"        {name}={value!r},\n" for name, value in values.items())
    why = "" if sampler else "    # Greedy answers would all be the same: a vote needs sampling.\n"
    return f"def settings():\n{why}    return ExLlamaV2Sampler.Settings(\n{inner}    )\n\n"


def _main(named: dict[str, JSON]) -> str:
    task = (
        'CONTRACT.replace("{prompt}", question) if "{prompt}" in CONTRACT else f"{CONTRACT}\\n\\n{question}"'
    )
    lines = ['if __name__ == "__main__":']
    lines += ["    warm_up()"] if "warm_up_tokens" in named else []
    lines.append("    question = sys.argv[1]")
    lines.append(f"    task = {task}" if "contract" in named else "    task = question")
    lines.append("    print(vote(task))" if "paths" in named else "    print(answer(task))")
    return "\n".join(lines) + "\n"
