"""What is free on a GPU that nobody wants to set up for being asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from wfgy_triage.engines import devices
from wfgy_triage.engines.devices import SETUP_BYTES, free_untouched
from wfgy_triage.engines.nvidia_smi import ask_smi

MIB = 1 << 20
SMI = """#!/bin/sh
[ "$1" = "--query-gpu=uuid,memory.free" ] && [ "$2" = "--format=csv,noheader,nounits" ] || exit 9
echo "GPU-AAAA-1, 1000"
echo "GPU-bbbb-2, 81000"
echo "GPU-cccc-3, [N/A]"
exit STATUS
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Three GPUs in another order than nvidia-smi's, and one that it does not list; `asked` says which were set up."""
    uuids, asked, kept = ("bbbb-2", "aaaa-1", "cccc-3", "dddd-4"), [], {}
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: kept.get(d.index, 0))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda d: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d: SimpleNamespace(uuid=uuids[d.index]))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: asked.append(d.index) or (7 * MIB, 0))
    monkeypatch.setenv("PATH", str(tmp_path))

    def tool(status: int) -> None:
        (tmp_path / "nvidia-smi").write_text(SMI.replace("STATUS", str(status)))
        (tmp_path / "nvidia-smi").chmod(0o755)

    return SimpleNamespace(asked=asked, kept=kept, tool=tool)


def test_the_tool_is_asked_and_the_gpu_is_found_by_its_uuid(machine):
    machine.tool(0)
    assert free_untouched("cuda:0") == 81000 * MIB - SETUP_BYTES
    assert free_untouched("cuda:1") == 1000 * MIB - SETUP_BYTES
    assert machine.asked == []


@pytest.mark.parametrize(
    ("device", "status"), [("cuda:2", 0), ("cuda:3", 0), ("cuda:0", 1), ("cuda:0", None)]
)
def test_what_the_tool_does_not_say_is_asked_of_the_gpu_itself(machine, device, status):
    """A number that it has not, a GPU that it does not list, a tool that fails, and none."""
    if status is not None:
        machine.tool(status)
    assert free_untouched(device) == 7 * MIB
    assert machine.asked == [int(device[5:])]


def test_a_gpu_that_is_set_up_already_answers_itself(machine):
    machine.tool(0)
    machine.kept[0] = 5 * MIB
    assert free_untouched("cuda:0") == 12 * MIB
    assert machine.asked == [0]


def test_the_processors_memory_is_the_same_question(monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda device: 4)
    assert free_untouched("cpu") == 4


def test_without_a_driver_there_is_nothing(machine):
    assert ask_smi("name") == []
