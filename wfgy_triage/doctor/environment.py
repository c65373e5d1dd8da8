"""What exllamav2 needs on this machine: versions, wheel, driver, GPU, attention back end, and whether it imports.

Everything is read in other processes. Without a GPU that PyTorch can use, exllamav2 is not imported even there, since
its import would try to compile an extension; what its files say is read all the same.
"""

from __future__ import annotations

import re

from wfgy_triage.checks import ArchitectureRow, Versions, load_checks, load_versions
from wfgy_triage.doctor.attention import Facts, capabilities, judge_attention
from wfgy_triage.doctor.finding import Finding, Patch, failed, finding, in_order, passed, skipped, warned
from wfgy_triage.doctor.finding import Outcome as Found
from wfgy_triage.doctor.patches import environment_patch, pin_patch
from wfgy_triage.doctor.subprocesses import BUILD_SECONDS, IMPORT_SECONDS, Outcome, read_facts, try_import

NOT_INSTALLED = "exllamav2 is not installed for this Python."
_WHEEL_TAG = re.compile(r"\+cu(?P<cuda>\d{3})\.torch(?P<torch>\d+\.\d+\.\d+)")


def check_environment(*, import_always: bool = False) -> tuple[Finding, ...]:
    """Check what exllamav2 needs here, in the order of the list; never raises for what is installed.

    Args:
        import_always: try the import even where no GPU is usable.
    """
    facts = read_facts()
    if isinstance(facts, Outcome):
        told = f"Asking PyTorch for its version ended with {facts.signal or facts.kind}: {_last_line(facts.text)}"
        rest = [c.id for c in load_checks().values() if c.group == "environment" and c.id != "torch_imports"]
        broken = failed("torch_imports", told)
        return in_order((broken, *(skipped(check, "PyTorch does not import.") for check in rest)))
    found = judge_facts(facts, load_versions())
    if not facts["exllamav2"]["found"]:
        imported = skipped("extension_imports", NOT_INSTALLED)
    elif not (import_always or facts["torch"].get("available")):
        why = "There is no usable GPU, and without one the import would only try to compile."
        imported = skipped("extension_imports", why)
    else:
        imported = judge_import(try_import(), load_versions(), pin_line(facts, load_versions()))
    return in_order((*found, imported))


def judge_facts(facts: Facts, versions: Versions) -> list[Finding]:
    """Findings from what is installed; a pure function.

    On a machine without any GPU the kernels are not used, so what would be a fault of theirs is only told.
    """
    library = _library(facts, versions)
    if not facts["torch"].get("available") and not facts["nvidia_smi"]:
        library = [f if f.state is Found.SKIPPED else _only_told(f) for f in library]
    return [_installed(facts), _torch(facts), _gpu(facts), _architecture(facts, versions), *library]


def _only_told(found: Finding) -> Finding:
    means = "There is no GPU here, so exllamav2's kernels are not used and this decides nothing."
    do = "Run the doctor on the machine that serves your model."
    return finding(found.check, Found.SKIPPED, found.seen, means=means, do=do)


def judge_import(outcome: Outcome, versions: Versions, pin: Patch | None = None) -> Finding:
    """The finding of an import that was tried: an error text is classified by its signature; a pure function.

    Args:
        outcome: how the process ended.
        versions: the signatures.
        pin: the wheel that matches this stack, where there is one.
    """
    check = "extension_imports"
    if outcome.kind == "done":
        return passed(check, "import exllamav2 succeeded in a process of its own.")
    known = versions.classify(outcome.text)
    if outcome.kind == "timeout" and known is None:
        return _too_long(outcome, pin)
    if known is None and outcome.kind == "crashed":
        seen = f"The import killed its process ({outcome.signal}). Last words: {_last_line(outcome.text)}"
        means = "Compiled code crashed: it usually was built for another PyTorch, CUDA or driver."
        return finding(check, Found.FAIL, seen, patch=pin, means=means, cause="kernel_version_skew")
    seen = f"The import failed: {_telling_line(outcome.text, versions)}"
    if known is None:
        return finding(
            check, Found.FAIL, seen, patch=pin, cause="unknown", means="This error text is not known here."
        )
    patch = _line_patch(known.line) if known.line else pin
    return finding(check, Found.FAIL, seen, patch=patch, means=known.says, do=known.do, cause=known.cause)


def _too_long(outcome: Outcome, pin: Patch | None) -> Finding:
    minutes = f"{outcome.seconds / 60:.0f}"
    built = outcome.seconds > IMPORT_SECONDS
    return finding(
        "extension_imports",
        Found.FAIL,
        f"The import did not end within {minutes} minutes and was ended. Last words: {_last_line(outcome.text)}",
        patch=pin,
        means=f"Building the extension takes about {BUILD_SECONDS / 60:.1f} minutes of processor time, shared among "
        "the cores; the limit left room for several times that. It takes longer here, or the import hangs."
        if built
        else "The extension is installed, so that nothing had to be built: the import hangs.",
        do="Install the prebuilt wheel. Or build it once without a limit: run python -c 'import exllamav2' with the "
        "Python that serves your model. What was compiled is kept, so it goes on from there.",
    )


def pin_line(facts: Facts, versions: Versions) -> Patch | None:
    """The wheel for this PyTorch, CUDA, Python and system, as a line for requirements.txt; None where there is none."""
    torch, cuda, python = _stack(facts)
    row = versions.wheel_row(torch)
    platform = versions.platforms.get(str(facts["platform"]))
    if row is None or platform is None or not row.has(cuda, python, str(facts["platform"])):
        return None
    url = versions.wheel_url.format(
        release=row.release, cuda=cuda, torch=row.torch, python=python, platform=platform
    )
    return pin_patch(f"exllamav2 @ {url}")


def _installed(facts: Facts) -> Finding:
    library, version = facts["exllamav2"], facts["packages"].get("exllamav2")
    if not library["found"] and version is None:
        return skipped("exllamav2_installed", NOT_INSTALLED)
    if not library["found"]:
        return failed("exllamav2_installed", f"Version {version} is listed, but its files are not there.")
    return passed(
        "exllamav2_installed", f"Version {version or 'unknown'}, Python {_dotted(facts['python'])}."
    )


def _torch(facts: Facts) -> Finding:
    torch = facts["torch"]
    if not torch["found"]:
        return skipped("torch_imports", "PyTorch is not installed for this Python.")
    if "error" in torch:
        return failed("torch_imports", str(torch["error"])[:300])
    return passed("torch_imports", f"PyTorch {torch['version']}, built for CUDA {torch['cuda'] or 'none'}.")


def _gpu(facts: Facts) -> Finding:
    torch, driver = facts["torch"], facts["nvidia_smi"]
    if torch.get("available"):
        names = ", ".join(dict.fromkeys(g["name"] for g in torch.get("gpus", ())))
        told = f" (driver: {driver[0]})" if driver else ""
        return passed("gpu_visible", f"PyTorch sees {names or 'a GPU'}{told}.")
    if driver:
        built = torch.get("cuda")
        why = f"PyTorch is built for CUDA {built}" if built else "PyTorch is built without CUDA"
        return failed("gpu_visible", f"The driver lists {driver[0]}; {why} and cannot use it.")
    return skipped("gpu_visible", "nvidia-smi lists no GPU.")


def _architecture(facts: Facts, versions: Versions) -> Finding:
    found = capabilities(facts)
    if not found:
        return skipped("gpu_architecture", "There is no GPU that PyTorch can use.")
    row = _architectures(_stack(facts)[1], versions)
    weakest = min(found)
    told = f"Compute capability {', '.join(f'{c:.1f}' for c in found)}"
    if row is None:
        return skipped(
            "gpu_architecture", f"{told}; no wheel is built for this CUDA, so there is nothing to compare."
        )
    if weakest < row.oldest:
        return failed("gpu_architecture", f"{told}; the wheels begin at {row.oldest:.1f}.")
    if max(found) > row.newest:
        return passed(
            "gpu_architecture", f"{told}; newer than {row.newest:.1f}, runs by forward-compatible code (PTX)."
        )
    return passed("gpu_architecture", f"{told}; the wheels cover {row.oldest:.1f} to {row.newest:.1f}.")


def _architectures(cuda: str, versions: Versions) -> ArchitectureRow | None:
    return next((row for row in versions.architectures if cuda in row.cuda), None)


def _library(facts: Facts, versions: Versions) -> list[Finding]:
    if not facts["exllamav2"]["found"]:
        checks = ("wheel_matches", "compiled_extension", "stale_build", "attention_backend")
        return [skipped(check, NOT_INSTALLED) for check in checks]
    return [
        _wheel(facts, versions),
        _extension(facts, versions),
        _stale(facts),
        judge_attention(facts, versions),
    ]


def _wheel(facts: Facts, versions: Versions) -> Finding:
    check = "wheel_matches"
    if "version" not in facts["torch"]:
        return skipped(check, "PyTorch is not there to compare with.")
    torch, cuda, python = _stack(facts)
    stack = f"PyTorch {torch}, CUDA {_dotted_cuda(cuda)}, Python {_dotted(python)}"
    pin = pin_line(facts, versions)
    tag = _WHEEL_TAG.search(facts["packages"].get("exllamav2") or "")
    if tag is None:
        if pin is None:
            return warned(
                check, f"A source package is installed, and there is no prebuilt wheel for {stack}."
            )
        return passed(check, f"A source package without a tag; it is built for {stack} on first import.")
    wrong = []
    if tag["torch"].split(".")[:2] != torch.split(".")[:2]:
        wrong.append(f"PyTorch {tag['torch']}")
    if tag["cuda"] != cuda:
        wrong.append(f"CUDA {_dotted_cuda(tag['cuda'])}")
    pythons = sorted(
        {t[2:] for full in facts["exllamav2"].get("tags", ()) for t in [full.split("-")[0]] if t[:2] == "cp"}
    )
    if pythons and python not in pythons:
        wrong.append(f"Python {_dotted(pythons[0])}")
    if wrong:
        return failed(check, f"The wheel is for {', '.join(wrong)}; here are {stack}.", pin)
    return passed(check, f"The wheel is for {stack}.")


def _extension(facts: Facts, versions: Versions) -> Finding:
    if facts["exllamav2"]["extension"]:
        return passed("compiled_extension", "exllamav2_ext is among the installed files.")
    if facts["finished_build"]:
        return finding(
            "compiled_extension",
            Found.PASS,
            f"A finished build for this Python is there: {facts['finished_build']}.",
            means="This Python has built the extension already; only another version of exllamav2 builds it again.",
        )
    needed = [tool for tool in ("nvcc", "g++", "ninja") if tool not in facts["tools"]]
    if "ninja" in facts["packages"] and "ninja" in needed:
        needed.remove("ninja")
    pin = pin_line(facts, versions)
    if needed:
        return failed(
            "compiled_extension",
            f"exllamav2_ext is not installed, and {', '.join(needed)} cannot be found.",
            pin,
        )
    return warned(
        "compiled_extension",
        "exllamav2_ext is not installed; nvcc, g++ and ninja are there to build it.",
        pin,
    )


def _stale(facts: Facts) -> Finding:
    builds = facts["left_over_builds"]
    if builds and facts["exllamav2"]["extension"]:
        return warned("stale_build", f"Left over: {', '.join(builds[:3])}.")
    return passed(
        "stale_build", f"{len(builds)} builds in torch's cache." if builds else "torch's cache holds none."
    )


def _stack(facts: Facts) -> tuple[str, str, str]:
    """PyTorch `2.9.0`, CUDA `128` (empty without), Python `311`."""
    torch = facts["torch"]
    version = str(torch.get("version") or facts["packages"].get("torch") or "").split("+")[0]
    return version, str(torch.get("cuda") or "").replace(".", ""), str(facts["python"])


def _dotted(python: str) -> str:
    return f"{python[0]}.{python[1:]}" if python else "unknown"


def _dotted_cuda(cuda: str) -> str:
    return f"{cuda[:-1]}.{cuda[-1]}" if cuda else "none"


def _line_patch(line: str) -> Patch:
    return environment_patch(line) if "=" in line and line.split("=")[0].isupper() else pin_patch(line)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "none"


def _telling_line(text: str, versions: Versions) -> str:
    """The line that carries the signature, else the last one."""
    lines = [line.strip() for line in text.splitlines() if versions.classify(line)]
    return lines[-1][:300] if lines else _last_line(text)
