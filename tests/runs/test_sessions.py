"""Sessions between two stores: exported from one, imported into another, never twice, never mixed up."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import VERIFIED, run_with_trials
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.session_file import content_hash
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings, load_settings
from wfgy_triage.store.records import RunSpec, RunStatus


def home(folder: Path) -> Settings:
    folder.mkdir(parents=True)
    return load_settings(
        home=folder, pairs_file=folder / "pairs.yaml", database_url=f"sqlite:///{folder / 'triage.db'}"
    )


@pytest.fixture
def worker(tmp_path):
    scripted = ScriptedWorker(home(tmp_path / "there"))
    yield scripted
    scripted.database.close()


@pytest.fixture
def there(worker, tmp_path):
    service = TriageService(load_settings(
        home=tmp_path / "there", database_url=f"sqlite:///{tmp_path / 'there' / 'triage.db'}"
    ))  # fmt: skip
    yield service
    service.close()


@pytest.fixture
def here(tmp_path):
    service = TriageService(home(tmp_path / "here"))
    yield service
    service.close()


def session_of(service: TriageService, run_id: str, redact: bool = False) -> bytes:
    return service.export(run_id, "session", redact).text.encode()


def altered(data: bytes, headline: str) -> bytes:
    found = json.loads(data)
    found["content"]["result"]["headline"] = headline
    found["sha256"] = content_hash(found["content"])
    return json.dumps(found).encode()


def test_a_session_is_the_same_in_another_store(worker, there, here):
    run_id = run_with_trials(worker, VERIFIED)
    data = session_of(there, run_id)
    found = here.import_session(data)
    assert found.new
    assert (found.record.id, found.record.imported) == (run_id, True)
    mine, its = here.get(run_id), there.get(run_id)
    assert mine.result == its.result
    assert (mine.spec, mine.status, mine.created_at, mine.timings) == (
        its.spec,
        its.status,
        its.created_at,
        its.timings,
    )
    assert [s.key for s in here.samples(run_id)] == [s.key for s in there.samples(run_id)]
    assert session_of(here, run_id) == data  # and goes out again as it came in
    assert not there.get(run_id).imported
    assert "Imported from a session file" in here.look(run_id).measured.log[0].payload["text"]


def test_the_same_content_twice_is_one_session(worker, there, here):
    run_id = worker.finished_run()
    data = session_of(there, run_id)
    here.import_session(data)
    again = here.import_session(data)
    assert (again.new, again.record.id) == (False, run_id)
    assert here.count() == 1
    own = there.import_session(data)  # where it was recorded, it is there already
    assert (own.new, own.record.id, own.record.imported) == (False, run_id, False)
    assert there.count() == 1


def test_other_content_under_the_same_id_gets_an_id_of_its_own(worker, there, here):
    run_id = worker.finished_run()
    data = session_of(there, run_id)
    here.import_session(data)
    other = here.import_session(altered(data, "Something else."))
    assert other.new
    assert other.record.id != run_id
    assert here.get(other.record.id).result["run_id"] == other.record.id
    assert here.get(run_id).result["headline"] != "Something else."
    assert here.import_session(altered(data, "Something else.")).record.id == other.record.id
    assert here.count() == 2


def test_a_redacted_session_says_less_than_the_one_that_is_there(worker, there, here, tmp_path):
    run_id = worker.finished_run()
    bare = session_of(there, run_id, redact=True)
    assert not there.import_session(bare).new
    found = here.import_session(bare)
    assert (found.new, found.record.id) == (True, run_id)
    assert not any("text" in s.payload for s in here.samples(run_id))
    assert session_of(here, run_id, redact=True) == bare
    full = here.import_session(session_of(there, run_id))
    assert full.new
    assert full.record.id != run_id


def test_name_tags_and_comments_travel_and_grow(worker, there, here):
    run_id = worker.finished_run()
    there.describe(run_id, "After the update", "my own notes", "prod llama")
    there.comment(run_id, "Chief", "Looks like the head bits.")
    found = here.import_session(session_of(there, run_id))
    assert (found.record.title, found.record.tags) == ("After the update", ("prod", "llama"))
    assert here.comments(run_id) == there.comments(run_id)

    here.comment(run_id, "Ben", "I see the same here.")
    there.comment(run_id, "Chief", "Thank you.")
    again = here.import_session(session_of(there, run_id))
    assert not again.new
    assert [c.text for c in here.comments(run_id)] == [
        "Looks like the head bits.",
        "I see the same here.",
        "Thank you.",
    ]
    there.import_session(session_of(here, run_id))  # its own session: nobody writes into it from outside
    assert len(there.comments(run_id)) == 2
    assert here.count() == 1


def test_two_people_who_import_at_once_get_one_session(worker, there, here, tmp_path):
    data = session_of(there, worker.finished_run())
    second = TriageService(load_settings(
        home=tmp_path / "here", database_url=f"sqlite:///{tmp_path / 'here' / 'triage.db'}"
    ))  # fmt: skip
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda s=s: found.append(s.import_session(data).record.id))
        for s in (here, second, here, second)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    second.close()
    assert len(found) == 4
    assert len(set(found)) == here.count() == 1


def test_a_refused_file_leaves_nothing(worker, there, here):
    data = json.loads(session_of(there, worker.finished_run()))
    data["content"]["result"]["charts"]["rates"] = [{"fp16": "x"}]  # fits the schema and cannot be drawn
    data["sha256"] = content_hash(data["content"])
    with pytest.raises(InputError, match="cannot be shown"):
        here.import_session(json.dumps(data).encode())
    assert here.count() == 0


def test_an_imported_run_is_not_continued_here_and_tells_nothing_of_this_machine(worker, there, here):
    data = json.loads(session_of(there, worker.finished_run()))
    data["content"]["session"]["status"] = "cancelled"
    data["sha256"] = content_hash(data["content"])
    record = here.import_session(json.dumps(data).encode()).record
    assert record.status is RunStatus.CANCELLED
    with pytest.raises(InputError, match="measured elsewhere"):
        here.resume(record.id)


def test_nobody_can_start_a_run_that_looks_imported(here):
    with pytest.raises(InputError):
        here.start(RunSpec("json_breaks", "demo"), start_key="import:abc")


def test_only_sessions_with_a_result_leave(worker, there):
    run_id = worker.queue()
    with pytest.raises(InputError, match="no result"):
        there.export(run_id, "html")
    with pytest.raises(InputError, match="no session with the id 'nope'"):
        there.export("nope", "html")


def test_folders_of_this_machine_are_known_and_left_out(worker, there, tmp_path):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answer(run_id, 0, "fp16", text=f"see {tmp_path / 'there'}/secret.txt")
    worker.answer(run_id, 0, "exl2", text="see /opt/of/somebody")
    worker.finish(run_id)
    assert str(tmp_path) not in there.export(run_id, "html").text
    for form in ("session", "answers-csv", "packet", "markdown"):
        text = there.export(run_id, form).text
        assert str(tmp_path) not in text
        assert "/opt/of/somebody" in text  # what a model says of other machines is content
