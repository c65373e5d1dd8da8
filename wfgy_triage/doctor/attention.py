"""Which attention exllamav2 uses on this machine: whether it keeps the causal mask, and whether it runs on the GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wfgy_triage.checks import Versions
from wfgy_triage.doctor.finding import Finding, Outcome, finding, passed, warned
from wfgy_triage.doctor.patches import environment_patch

Facts = Mapping[str, Any]
"""What `environment_facts` collected."""


def judge_attention(facts: Facts, versions: Versions) -> Finding:
    """The finding on the attention back end; a pure function."""
    check, packages, variables = "attention_backend", facts["packages"], facts["variables"]
    version = _release(packages.get("exllamav2") or "")
    first, last = (_release(v) for v in versions.unmasked_sdpa)
    flash = packages.get("flash-attn")
    if flash and not variables.get("EXLLAMA_NO_FLASH_ATTN"):
        weak = [c for c in capabilities(facts) if c < versions.flash_attention_capability]
        if weak:
            return _gpu_too_old(flash, min(weak), versions)
        if _release(flash) >= _release(versions.flash_attention):
            return passed(check, f"flash-attn {flash} is installed.")
    if packages.get("xformers") and not variables.get("EXLLAMA_NO_XFORMERS"):
        return passed(check, f"xformers {packages['xformers']} is installed.")
    if variables.get("EXLLAMA_NO_SDPA"):
        return passed(check, "EXLLAMA_NO_SDPA is set, so the back end that keeps its mask is used.")
    if not version or first <= version <= last:
        seen = f"Neither a fitting flash-attn nor xformers is installed (exllamav2 {packages.get('exllamav2', '')})."
        return warned(check, seen, environment_patch("EXLLAMA_NO_SDPA=1"))
    return passed(check, f"exllamav2 {packages['exllamav2']} is not among the versions without a mask.")


def capabilities(facts: Facts) -> list[float]:
    """Compute capability of every GPU that PyTorch can use."""
    return [g["capability"][0] + g["capability"][1] / 10 for g in facts["torch"].get("gpus") or ()]


def _gpu_too_old(flash: str, weakest: float, versions: Versions) -> Finding:
    """The library looks at the GPUs, prints a warning at most, and uses flash-attn all the same (its attn.py)."""
    return finding(
        "attention_backend",
        Outcome.WARN,
        f"flash-attn {flash} is installed and needs compute capability {versions.flash_attention_capability:.1f}; a "
        f"GPU here has {weakest:.1f}.",
        patch=environment_patch("EXLLAMA_NO_FLASH_ATTN=1", "EXLLAMA_NO_SDPA=1"),
        means="exllamav2 uses flash-attn wherever it is installed, so the first prompt ends with an error on that GPU.",
        do="Switch flash-attn off before the server starts, and with it the back end without a causal mask; or use "
        "GPUs of the Ampere generation or newer.",
    )


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")[:3]) if found else ()
