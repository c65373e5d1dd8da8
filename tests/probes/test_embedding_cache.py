from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wfgy_triage.probes import embedding_cache
from wfgy_triage.probes.embedding_cache import EmbeddingCache

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXTS = ["one", "two"]


def test_kept_under_everything_it_depends_on(tmp_path: Path):
    cache = EmbeddingCache(tmp_path / "new" / "folder")
    cache.put(("model", "layer 1"), TEXTS, ROWS)
    again = EmbeddingCache(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(again.get(("model", "layer 1"), TEXTS, (2, -1)), ROWS)
    assert again.get(("model", "layer 2"), TEXTS, (2, -1)) is None
    assert again.get(("model", "layer 1"), TEXTS[::-1], (2, -1)) is None
    assert again.get(("model", "layer 1"), TEXTS, (3, -1)) is None
    assert [p.suffix for p in (tmp_path / "new" / "folder").iterdir()] == [".npz"]


def test_damaged_files_count_as_absent(tmp_path: Path):
    cache = EmbeddingCache(tmp_path)
    cache.put(("m",), TEXTS, ROWS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for bad in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(bad)
        assert cache.get(("m",), TEXTS, (2, 3)) is None
    with path.open("wb") as file:
        np.savez(file, vectors=np.array([{"a": 1}], dtype=object))
    assert cache.get(("m",), TEXTS, (2, 3)) is None
    cache.put(("m",), TEXTS, ROWS * np.nan)
    assert cache.get(("m",), TEXTS, (2, 3)) is None


def test_without_a_folder_nothing_is_kept():
    cache = EmbeddingCache(None)
    cache.put(("m",), TEXTS, ROWS)
    assert cache.get(("m",), TEXTS, (2, 3)) is None


def test_a_full_disk_costs_nothing_but_time(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    EmbeddingCache(tmp_path / "file").put(("m",), TEXTS, ROWS)


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding_cache, "LIMIT_BYTES", 1_000)
    cache = EmbeddingCache(tmp_path)
    for number in range(8):
        cache.put((str(number),), TEXTS, ROWS)
    assert cache.get(("7",), TEXTS, (2, 3)) is not None
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 1_000
