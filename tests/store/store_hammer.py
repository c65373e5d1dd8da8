"""One of several processes that use the same database at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import Sample, SampleKey
from wfgy_triage.store.runs import RunRepository

THREADS = 4
WRITES = 20


def lease_all(repo: RunRepository, worker: str) -> list[str]:
    mine = []
    while (record := repo.lease(worker, 600)) is not None:
        mine.append(record.id)
    return mine


def write(repo: RunRepository, run_id: str, writer: str) -> int:
    new = 0
    for i in range(WRITES):
        repo.add_event(run_id, "note", {"writer": writer, "i": i})
        new += repo.add_samples(run_id, [Sample(SampleKey("p", f"q{i}", 0, 0, "fp16"), {"by": writer})])
    return new


def keep_answers(cache: AnswerCache, writer: str) -> int:
    """Write, read, use and prune the same rows as everybody else; returns how many are there."""
    rows = {f"{i:064x}": {"by": writer, "n": [0.5] * 100} for i in range(50)}
    for begin in range(0, 50, 5):
        cache.put_many({key: rows[key] for key in list(rows)[begin : begin + 10]})
        cache.touch(cache.get_many(rows).keys())
        cache.prune(50)
    return len(cache.get_many(rows))


if __name__ == "__main__":
    job, url, name, run_id = sys.argv[1:]
    database = open_database(url)
    repo = RunRepository(database)
    sys.stdin.read(1)
    with ThreadPoolExecutor(THREADS) as pool:
        names = [f"{name}.{i}" for i in range(THREADS)]
        if job == "lease":
            for mine in pool.map(lambda worker: lease_all(repo, worker), names):
                sys.stdout.write("".join(f"{run}\n" for run in mine))
        elif job == "answers":
            counts = pool.map(lambda writer: keep_answers(AnswerCache(database), writer), names)
            sys.stdout.write("".join(f"{count}\n" for count in counts))
        else:
            new = sum(pool.map(lambda writer: write(repo, run_id, writer), names))
            sys.stdout.write(f"{new}\n")
