"""The environment: every error text of the field is classified, and an import can neither hang nor crash the doctor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wfgy_triage.catalog import load_catalog
from wfgy_triage.checks import load_checks, load_versions
from wfgy_triage.doctor import environment
from wfgy_triage.doctor.environment import check_environment, judge_facts, judge_import, pin_line
from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.doctor.subprocesses import IMPORT_SECONDS, read_facts, try_import
from wfgy_triage.doctor.subprocesses import Outcome as Ended

VERSIONS = load_versions()
TEXTS = {
    "flash_attn_abi": "ImportError: /x/flash_attn_2_cuda.so: undefined symbol: _ZNK3c1010TensorImpl",
    "paged_attention": "AssertionError: Paged attention required Flash Attention 2.5.7 or later",
    "undefined_symbol": "ImportError: /x/exllamav2_ext.so: undefined symbol: _ZN3c104cuda14ExchangeDeviceEa",
    "dll_load": "ImportError: DLL load failed while importing exllamav2_ext: The specified procedure",
    "no_kernel_image": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "driver_too_old": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "cuda_home": "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.",
    "nvcc_missing": "/bin/sh: 1: /usr/bin/nvcc: not found",
    "ninja_missing": "RuntimeError: Ninja is required to load C++ extensions",
    "cuda_headers_missing": "CUDAContextLight.h:10:10: fatal error: cusparse.h: No such file or directory",
    "build_lock": 'UserWarning: Waited on lock file "/c/exllamav2_ext/lock" for 300 seconds.',
    "build_stopped": "ninja: build stopped: subcommand failed.",
    "extension_absent": "ModuleNotFoundError: No module named 'exllamav2_ext'",
    "tokenizers_absent": "ModuleNotFoundError: No module named 'tokenizers'",
    "module_absent": "ModuleNotFoundError: No module named 'fastparquet'",
    "no_tokenizer": "FileNotFoundError: No supported tokenizer found.",
    "head_absent": "ValueError:  ## Could not find lm_head.* in model",
    "unexpected_quant": "TypeError: ExLlamaV2.__init__() got an unexpected keyword argument 'quant'",
    "filter_too_old": "AttributeError: 'ExLlamaV2TokenEnforcerFilter' object has no attribute 'background_drop'",
}


OLDER_GPU = {
    "found": True,
    "version": "2.9.0+cu128",
    "cuda": "12.8",
    "available": True,
    "gpus": [{"name": "NVIDIA A10", "capability": [8, 6]}, {"name": "Tesla T4", "capability": [7, 5]}],
}


def facts(**changes: object) -> dict:
    """A healthy CUDA machine with the matching wheel and flash-attn."""
    healthy = {
        "python": "311",
        "platform": "linux",
        "packages": {"exllamav2": "0.3.2+cu128.torch2.9.0", "torch": "2.9.0", "flash-attn": "2.8.3"},
        "exllamav2": {"found": True, "extension": True, "tags": ["cp311-cp311-linux_x86_64"]},
        "variables": {},
        "tools": [],
        "nvidia_smi": ["NVIDIA A10, 570.10, 8.6"],
        "left_over_builds": [],
        "finished_build": "",
        "torch": {
            "found": True,
            "version": "2.9.0+cu128",
            "cuda": "12.8",
            "available": True,
            "gpus": [{"name": "NVIDIA A10", "capability": [8, 6]}],
        },
    }
    return {**healthy, **changes}


def judged(**changes: object) -> dict[str, Finding]:
    return {f.check: f for f in judge_facts(facts(**changes), VERSIONS)}


@pytest.mark.parametrize("name", TEXTS)
def test_every_error_text_is_classified(name: str):
    found = VERSIONS.classify(f"Traceback (most recent call last):\n  File x\n{TEXTS[name]}\n")
    assert found.id == name
    assert found.cause in load_catalog().causes


def test_every_signature_has_a_text_here():
    assert {s.id for s in VERSIONS.signatures} == set(TEXTS)


@pytest.mark.parametrize(
    "text", ["", "Segmentation fault", "error: something else entirely", "undefined variable"]
)
def test_unknown_texts_are_not_forced_into_a_signature(text: str):
    assert VERSIONS.classify(text) is None
    found = judge_import(Ended("failed", text), VERSIONS)
    assert (found.state, found.cause) == (Outcome.FAIL, "unknown")


def test_a_matching_stack_passes():
    assert {f.state for f in judged().values()} == {Outcome.PASS}


@pytest.mark.parametrize(
    ("changes", "check", "state", "said"),
    [
        ({"packages": {"exllamav2": "0.3.2+cu128.torch2.4.0"}}, "wheel_matches", "FAIL", "PyTorch 2.4.0"),
        ({"packages": {"exllamav2": "0.3.2+cu121.torch2.9.0", "torch": "2.9.0"}}, "wheel_matches", "FAIL", "CUDA 12.1"),
        ({"python": "312"}, "wheel_matches", "FAIL", "Python 3.11"),
        ({"exllamav2": {"found": True, "extension": False, "tags": []}}, "compiled_extension", "FAIL", "nvcc, g++"),
        (
            {"exllamav2": {"found": True, "extension": False, "tags": []}, "tools": ["nvcc", "g++", "ninja"]},
            "compiled_extension", "WARN", "are there to build it",
        ),
        (
            {"exllamav2": {"found": True, "extension": False, "tags": []}, "finished_build": "/c/e/exllamav2_ext.so"},
            "compiled_extension", "PASS", "is there: /c/e/exllamav2_ext.so",
        ),
        ({"left_over_builds": ["/c/exllamav2_ext"]}, "stale_build", "WARN", "/c/exllamav2_ext"),
        ({"packages": {"exllamav2": "0.3.2", "torch": "2.9.0"}}, "attention_backend", "WARN", "exllamav2 0.3.2"),
        (
            {"packages": {"exllamav2": "0.3.2"}, "variables": {"EXLLAMA_NO_SDPA": "1"}},
            "attention_backend", "PASS", "EXLLAMA_NO_SDPA",
        ),
        ({"packages": {"exllamav2": "0.2.8"}}, "attention_backend", "PASS", "0.2.8"),
        ({"packages": {"exllamav2": "0.3.2", "flash-attn": "2.5.6"}}, "attention_backend", "WARN", "flash-attn"),
        ({"torch": OLDER_GPU}, "attention_backend", "WARN", "needs compute capability 8.0; a GPU here has 7.5"),
        (
            {"torch": OLDER_GPU, "variables": {"EXLLAMA_NO_FLASH_ATTN": "1", "EXLLAMA_NO_SDPA": "1"}},
            "attention_backend", "PASS", "EXLLAMA_NO_SDPA",
        ),
        ({"exllamav2": {"found": False, "extension": False}, "packages": {}}, "exllamav2_installed", "SKIPPED", "not"),
        ({"exllamav2": {"found": False, "extension": False}}, "exllamav2_installed", "FAIL", "files are not there"),
        ({"torch": {"found": True, "error": "OSError: libcudart.so.12"}}, "torch_imports", "FAIL", "libcudart"),
        (
            {"torch": {"found": True, "version": "2.9.0", "cuda": None, "available": False}},
            "gpu_visible", "FAIL", "without CUDA",
        ),
    ],
)  # fmt: skip
def test_what_is_installed_is_judged(changes: dict, check: str, state: str, said: str):
    found = judged(**changes)[check]
    assert (found.state, said in found.seen) == (state, True), found.seen


@pytest.mark.parametrize(
    ("capability", "state"),
    [([5, 2], Outcome.FAIL), ([6, 0], Outcome.PASS), ([12, 0], Outcome.PASS), ([13, 0], Outcome.PASS)],
)
def test_gpu_architecture(capability: list[int], state: Outcome):
    torch = {**facts()["torch"], "gpus": [{"name": "G", "capability": capability}]}
    assert judged(torch=torch)["gpu_architecture"].state is state


def test_an_older_gpu_is_told_how_to_go_on_without_flash_attention():
    found = judged(torch=OLDER_GPU)["attention_backend"]
    assert found.patch.text == "EXLLAMA_NO_FLASH_ATTN=1\nEXLLAMA_NO_SDPA=1"
    assert found.patch.values == {"EXLLAMA_NO_FLASH_ATTN": "1", "EXLLAMA_NO_SDPA": "1"}
    assert "first prompt" in found.means


@pytest.mark.parametrize(
    ("platform", "python", "there"),
    [("linux", "313", True), ("win32", "313", False), ("win32", "312", True), ("linux", "314", False)],
)
def test_wheels_that_one_system_lacks(platform: str, python: str, there: bool):
    torch = {**facts()["torch"], "version": "2.5.1+cu121", "cuda": "12.1"}
    line = pin_line(facts(torch=torch, platform=platform, python=python), VERSIONS)
    assert (line is not None) is there
    assert line is None or f"torch2.5.0-cp{python}-cp{python}-" in line.text


def test_the_pin_names_every_part_of_the_stack():
    wrong = judged(packages={"exllamav2": "0.3.2+cu121.torch2.4.0", "torch": "2.9.0"})["wheel_matches"]
    assert wrong.patch.target == "requirements.txt"
    assert wrong.patch.text.startswith("exllamav2 @ https://")
    assert wrong.patch.text.endswith("/exllamav2-0.3.2+cu128.torch2.9.0-cp311-cp311-linux_x86_64.whl")


def test_no_pin_is_invented_where_there_is_no_wheel():
    torch = {**facts()["torch"], "version": "2.11.0+cu130", "cuda": "13.0"}
    assert pin_line(facts(torch=torch), VERSIONS) is None
    found = judged(torch=torch, packages={"exllamav2": "0.3.2", "torch": "2.11.0"})["wheel_matches"]
    assert found.state is Outcome.WARN
    assert pin_line(facts(python="314"), VERSIONS) is None


def test_without_a_gpu_kernels_are_told_of_and_decide_nothing():
    torch = {"found": True, "version": "2.13.0+cpu", "cuda": None, "available": False}
    found = judged(torch=torch, nvidia_smi=[], exllamav2={"found": True, "extension": False, "tags": []})
    kernels = ("wheel_matches", "compiled_extension", "stale_build", "attention_backend", "gpu_visible")
    assert {found[c].state for c in kernels} == {Outcome.SKIPPED}
    assert "nvcc" in found["compiled_extension"].seen


# A package that behaves badly, in a process of its own ---------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_an_import_that_fails_names_its_cause(name: str, fake_library):
    kind, _, words = TEXTS[name].partition(": ")
    error = kind if kind.endswith("Error") else "OSError"
    fake_library(f"raise {error}({(words if error == kind else TEXTS[name])!r})")
    found = judge_import(try_import(), VERSIONS)
    signature = VERSIONS.classify(TEXTS[name])
    assert (found.state, found.cause, found.means) == (Outcome.FAIL, signature.cause, signature.says)
    assert found.do == signature.do


def test_an_import_that_works(fake_library):
    fake_library("print('\\x00\\xff noise ' * 1000)")
    assert judge_import(try_import(), VERSIONS).state is Outcome.PASS


def test_an_import_that_hangs_is_ended(fake_library):
    fake_library(
        "import subprocess, time\nprint('compiling', flush=True)\nsubprocess.Popen(['sleep', '60'])\ntime.sleep(60)"
    )
    found = judge_import(try_import(seconds=1.5), VERSIONS)
    assert (found.state, found.cause) == (Outcome.FAIL, "extension_missing")
    assert "compiling" in found.seen


def test_an_import_that_takes_too_long_is_told_its_limit_and_what_a_build_takes():
    found = judge_import(Ended("timeout", "Building C++/CUDA extension", seconds=1515.0), VERSIONS)
    assert (found.state, found.cause) == (Outcome.FAIL, "extension_missing")
    assert "within 25 minutes" in found.seen
    assert "13.5 minutes" in found.means
    assert "without a limit" in found.do
    installed = judge_import(Ended("timeout", "", seconds=IMPORT_SECONDS), VERSIONS)
    assert "within 5 minutes" in installed.seen
    assert "13.5" not in installed.means


def test_an_import_that_crashes_its_process(fake_library):
    fake_library("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    found = judge_import(try_import(), VERSIONS)
    assert (found.state, found.cause) == (Outcome.FAIL, "kernel_version_skew")
    assert "SIGSEGV" in found.seen


@pytest.mark.parametrize(
    "source",
    [
        "import os, sys\nsys.stderr.buffer.write(os.urandom(100000))\nraise SystemExit(0)",
        "import os\nos._exit(0)",
    ],
)
def test_an_import_that_ends_the_process_is_no_success(source: str, fake_library):
    fake_library(source)
    assert judge_import(try_import(), VERSIONS).state is Outcome.FAIL


def test_the_whole_environment_in_other_processes(fake_library):
    fake_library("raise ImportError('exllamav2_ext.so: undefined symbol: _Z')")
    found = {f.check: f for f in check_environment(import_always=True)}
    assert set(found) == {c.id for c in load_checks().values() if c.group == "environment"}
    assert found["extension_imports"].cause == "kernel_version_skew"
    assert "exllamav2" not in sys.modules


def test_without_a_gpu_nothing_is_imported(fake_library, tmp_path: Path):
    marker = tmp_path / "imported"
    fake_library(f"open({str(marker)!r}, 'w')")
    found = {f.check: f for f in check_environment()}
    if found["gpu_visible"].state is not Outcome.PASS:
        assert found["extension_imports"].state is Outcome.SKIPPED
        assert not marker.exists()


def test_a_torch_that_kills_the_process_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "read_facts", lambda: Ended("crashed", "boom", "SIGILL"))
    found = {f.check: f for f in check_environment()}
    assert (found["torch_imports"].state, found["torch_imports"].cause) == (
        Outcome.FAIL,
        "kernel_version_skew",
    )
    assert "SIGILL" in found["torch_imports"].seen
    assert {f.state for c, f in found.items() if c != "torch_imports"} == {Outcome.SKIPPED}


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_a_compiler_that_pytorch_finds_by_itself_is_there(
    variable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path / "cuda"))
    assert "nvcc" not in read_facts()["tools"]
    compiler = tmp_path / "cuda" / "bin" / "nvcc"
    compiler.parent.mkdir(parents=True)
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert "nvcc" in read_facts()["tools"]


def test_a_build_counts_once_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    folder = tmp_path / "exllamav2_ext"
    folder.mkdir()
    (folder / "quantize.cuda.o").write_bytes(b"x")
    assert read_facts()["finished_build"] == ""
    (folder / "exllamav2_ext.so").write_bytes(b"x")
    (folder / "lock").touch()
    assert read_facts()["finished_build"] == ""
    (folder / "lock").unlink()
    assert read_facts()["finished_build"] == str(folder / "exllamav2_ext.so")


def test_facts_of_this_machine_are_read_without_importing_the_library():
    found = read_facts()
    assert found["python"] == f"{sys.version_info.major}{sys.version_info.minor}"
    assert found["torch"]["found"]
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, wfgy_triage.doctor.environment; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.strip() == "False"
