"""The command line's own run: recorded like any other, waits for the device, ends by Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.runs.run_fakes import SIDES, SYMPTOM, fake_tools, register_pair, spec, wait_for
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import Pair
from wfgy_triage.runs.headless import run_headless
from wfgy_triage.runs.lane import lane_of
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.store.runs import RunRepository


def headless(settings, run_spec, on_event=None, **options):
    return run_headless(
        settings,
        run_spec,
        on_event,
        make_tools=lambda: fake_tools(settings.home),
        symptoms=lambda: (SYMPTOM,),
        **options,
    )


def stored(settings):
    database = open_database(settings.database_url)
    try:
        return RunRepository(database).list()
    finally:
        database.close()


def test_the_run_is_measured_and_recorded(settings):
    kinds = []
    record = headless(settings, spec(3), lambda event: kinds.append(event.kind))
    assert (record.status, record.state) == (RunStatus.DONE, "PASS")
    assert record.result["run_id"] == record.id
    assert [r.id for r in stored(settings)] == [record.id]
    assert {"stage", "context"} <= set(kinds)


def test_a_fault_goes_to_the_log_and_not_to_the_terminal(settings, capfd):
    record = headless(settings, spec(3, crash_at=1))
    assert record.status == RunStatus.FAILED
    assert "headless.log" in record.error_hint
    log = (settings.home / "logs" / "headless.log").read_text()
    assert "ZeroDivisionError" in log
    assert "run_fakes.py" in log
    assert "secret detail" not in log, "what an exception quotes may be a user's text"
    assert capfd.readouterr() == ("", "")


def test_a_pair_given_by_folders_needs_no_registration(settings):
    known = register_pair(settings, "other")
    pair = Pair("by-hand", "By hand", known.fp16, known.exl2)
    record = headless(settings, RunSpec(SYMPTOM, "by-hand", questions=2), pair=pair)
    assert record.result["pair"]["id"] == "by-hand"


def test_a_wrong_request_leaves_no_trace(settings):
    with pytest.raises(InputError, match="no model pair"):
        headless(settings, RunSpec(SYMPTOM, "nobody", questions=2))
    with pytest.raises(InputError, match="questions"):
        headless(settings, spec(0))
    assert stored(settings) == ()


def test_it_waits_while_another_process_uses_the_device(settings):
    notes, records = [], []
    with lane_of(settings).try_hold() as held:
        assert held
        thread = threading.Thread(
            target=lambda: records.append(
                headless(settings, spec(2), lambda e: notes.append((e.run_id, e.payload.get("text"))))
            )
        )
        thread.start()
        wait_for(lambda: notes)
        assert notes[0][0] == ""
        assert "Another run" in notes[0][1]
        assert stored(settings) == ()
    thread.join(30)
    assert records[0].status == RunStatus.DONE


def test_ctrl_c_stops_and_evaluates(settings):
    def interrupt(event):
        if event.kind == "stage" and event.payload["name"] == "fp16" and event.payload["done"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    record = headless(settings, spec(100, pause=0.02), interrupt)
    assert record.status == RunStatus.CANCELLED
    assert record.state == "INCONCLUSIVE"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def pythons_ctrl_c():
    """Python's own handler, as on the command line; the browser tests leave their event loop's one in place."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_ctrl_c")
def test_ctrl_c_twice_ends_at_once_and_keeps_the_samples(settings):
    def interrupt(event):
        if event.kind == "stage" and event.payload["name"] == "fp16":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # two signals in one moment would arrive as one
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        headless(settings, spec(100), interrupt)
    (record,) = stored(settings)
    assert record.status == RunStatus.CANCELLED
    assert "Ctrl-C" in record.error_message
    database = open_database(settings.database_url)
    assert 0 < len(RunRepository(database).samples(record.id)) < 100 * len(SIDES)
    database.close()
