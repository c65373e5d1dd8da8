import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.exl2.builders import tiny_tensors, write_folder
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2 import writer
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.convert import quantize_folder


def test_an_existing_folder_is_never_overwritten(tmp_path):
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already exists"):
        quantize_folder(source, tmp_path / "out", bpw=4.6, method="rtn")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("boom")])
def test_interrupted_work_leaves_nothing(tmp_path, failure):
    source = write_folder(tmp_path / "fp16", tiny_tensors())

    def interrupt(done, total, label):
        if done == 5:
            raise failure

    with pytest.raises(type(failure)):
        quantize_folder(source, tmp_path / "out", bpw=4.6, method="rtn", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["fp16"]


@pytest.mark.parametrize("where", ["space", "config"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch, where):
    source = write_folder(tmp_path / "fp16", tiny_tensors())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "space":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: usage._replace(free=100))
    else:
        monkeypatch.setattr(writer.shutil, "copyfile", full)
    with pytest.raises(PrerequisiteError, match="disk is full") as caught:
        quantize_folder(source, tmp_path / "out", bpw=4.6, method="rtn")
    assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["fp16"]


def test_a_termination_signal_leaves_nothing(tmp_path):
    write_folder(tmp_path / "fp16", tiny_tensors())
    code = (
        "import sys, time; from pathlib import Path; from wfgy_triage.exl2.convert import quantize_folder\n"
        "def wait(done, total, label):\n"
        "    if done == 3: print('working', flush=True); time.sleep(60)\n"
        f"quantize_folder(Path({str(tmp_path / 'fp16')!r}), Path({str(tmp_path / 'out')!r}), bpw=4.6, method='rtn',"
        " progress=wait)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "working"
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    assert process.wait(timeout=max(1, deadline - time.monotonic())) == 143
    process.stdout.close()
    assert [p.name for p in tmp_path.iterdir()] == ["fp16"]


def test_large_folders_are_sharded_with_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_SHARD_BYTES", 20_000)
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    quantize_folder(source, tmp_path / "out", bpw=4.6, method="rtn")
    assert len(list((tmp_path / "out").glob("output-*-of-*.safetensors"))) > 1
    assert (tmp_path / "out" / "output.safetensors.index.json").is_file()
    with Checkpoint.open(tmp_path / "out") as checkpoint:
        assert checkpoint.decode("lm_head").shape == (160, 64)
