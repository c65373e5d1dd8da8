from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.workload import index_file
from wfgy_triage.workload.index_file import load_index, plain_index

ROWS = np.random.default_rng(7).standard_normal((30, 8)).astype(np.float32)


def written(tmp_path: Path, index: faiss.Index) -> Path:
    index.train(ROWS)
    if hasattr(index, "id_map"):
        index.add_with_ids(ROWS, np.arange(len(ROWS)))
    else:
        index.add(ROWS)
    path = tmp_path / "index.faiss"
    faiss.write_index(index, str(path))
    return path


@pytest.mark.parametrize(
    ("make", "measure"),
    [
        (lambda: faiss.IndexFlatIP(8), "ip"),
        (lambda: faiss.IndexFlatL2(8), "l2"),
        (lambda: faiss.index_factory(8, "IVF2,Flat"), "l2"),
        (lambda: faiss.IndexHNSWFlat(8, 4, faiss.METRIC_INNER_PRODUCT), "ip"),
        (lambda: faiss.IndexIDMap(faiss.IndexFlatIP(8)), "ip"),
    ],
    ids=["flat-ip", "flat-l2", "ivf", "hnsw", "id-map"],
)
def test_vectors_come_back_in_order(tmp_path: Path, make, measure):
    found = load_index(written(tmp_path, make()), 30)
    np.testing.assert_array_equal(found.vectors, ROWS)
    assert found.measure == measure
    assert len(found.sha256) == 64


def test_files_that_do_not_fit_are_refused(tmp_path: Path):
    path = written(tmp_path, faiss.IndexFlatIP(8))
    raw = path.read_bytes()
    with pytest.raises(InputError, match="30 vectors for 29 passages"):
        load_index(path, 29)
    for bad, message in (
        (b"\x80\x05pickle" + raw, "not a FAISS index"),
        (raw[:20], "not a FAISS index"),
        (raw[:4] + (2**30).to_bytes(4, "little") + raw[8:], "names 30 vectors of 1,073,741,824"),
        (raw[:8] + (2**60).to_bytes(8, "little") + raw[16:], "vectors of 8 numbers"),
        (raw[:33] + (4).to_bytes(4, "little") + raw[37:], "something else than inner product"),
        (raw[: len(raw) // 2], "is damaged"),
        (raw + b"0", "is damaged"),
        (raw[:37] + (2**61).to_bytes(8, "little") + raw[45:], "is damaged"),
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=message):
            load_index(path, 30)
    with pytest.raises(InputError, match="cannot be read"):
        load_index(tmp_path / "none", 30)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path):
    index = faiss.IndexFlatIP(8)
    index.add(np.full((30, 8), np.nan, np.float32))
    path = tmp_path / "nan.faiss"
    faiss.write_index(index, str(path))
    with pytest.raises(InputError, match="does not hold"):
        load_index(path, 30)


def test_a_missing_faiss_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path, faiss.index_factory(8, "IVF2,Flat"))
    monkeypatch.setattr(index_file, "find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match="faiss-cpu"):
        load_index(path, 30)


def test_a_reader_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path, faiss.index_factory(8, "IVF2,Flat"))
    monkeypatch.setattr(index_file, "_CHILD", "import time; time.sleep(60)")
    monkeypatch.setattr(index_file, "READ_SECONDS", 0.2)
    with pytest.raises(InputError, match="could not be read within"):
        load_index(path, 30)


PLAIN = {
    "flat-ip": lambda: faiss.IndexFlatIP(8),
    "flat-l2": lambda: faiss.IndexFlatL2(8),
    "hnsw": lambda: faiss.IndexHNSWFlat(8, 4),
    "id-map": lambda: faiss.IndexIDMap(faiss.IndexFlatL2(8)),
    "id-map-2": lambda: faiss.IndexIDMap2(faiss.IndexFlatIP(8)),
    "id-map-hnsw": lambda: faiss.IndexIDMap(faiss.IndexHNSWFlat(8, 4)),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_plain_kinds_are_read_as_faiss_reads_them(tmp_path: Path, make):
    raw = written(tmp_path, make()).read_bytes()
    np.testing.assert_array_equal(plain_index(raw, "x.faiss", 30).vectors, ROWS)


def test_kinds_that_only_faiss_can_read_are_not_opened_for_strangers(tmp_path: Path):
    for factory in ("IVF2,Flat", "SQ8", "PQ2x4np", "PCA4,Flat"):
        raw = written(tmp_path, faiss.index_factory(8, factory)).read_bytes()
        with pytest.raises(InputError):
            plain_index(raw, "x.faiss", 30)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("nested"), PLAIN["id-map-hnsw"]()).read_bytes()


@given(data=st.data())
def test_a_broken_file_is_an_error_and_nothing_else(nested: bytes, data: st.DataObject):
    """Cut off anywhere, with bytes replaced anywhere: vectors of the right shape, or words."""
    raw = bytearray(nested[: data.draw(st.integers(0, len(nested)))])
    for _ in range(data.draw(st.integers(0, 4)) if raw else 0):
        place = data.draw(st.integers(0, len(raw) - 1))
        new = data.draw(st.binary(min_size=1, max_size=8))
        raw[place : place + len(new)] = new
    try:
        rows = plain_index(bytes(raw), "x.faiss", 30).vectors
    except InputError:
        return
    assert rows.shape == ROWS.shape
