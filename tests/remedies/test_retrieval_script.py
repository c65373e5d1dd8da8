"""The rendered index scripts, run as a user runs them, on a real index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.renders import render

# Passages become vectors by their letters: enough to see which model and which distance was used.
EMBEDDER = """
import numpy as np
class SentenceTransformer:
    def __init__(self, name): print("model", name)
    def encode(self, texts): return np.array([[t.count("a"), t.count("b"), 0.5] for t in texts])
"""
OLD = "import faiss, numpy as np; i = faiss.IndexFlatIP(2); i.add(np.float32([[10, 10], [1, 0], [0, 2]])); "
LOOK = (
    "import faiss, sys; i = faiss.read_index(sys.argv[1]); "
    "print(i.metric_type == faiss.METRIC_L2, i.reconstruct_n(0, i.ntotal).astype(float).round(3).tolist())"
)


def python(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_script(folder: Path, changes: dict) -> None:
    text = render(Patch(changes), Facts("a", "b"))["retrieval"]
    assert text is not None
    (folder / "fix_index.py").write_text(text, "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sentence_transformers.py").write_text(EMBEDDER)
    (tmp_path / "passages.txt").write_text("aaaaaab\n\nb\nab\n")
    python(tmp_path, "-c", OLD + "faiss.write_index(i, 'old')")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"retrieval.index": "normalise"}, "False [[0.707, 0.707], [1.0, 0.0], [0.0, 1.0]]"),
        ({"retrieval.metric": "cosine"}, "False [[0.707, 0.707], [1.0, 0.0], [0.0, 1.0]]"),
        ({"retrieval.metric": "dot"}, "False [[10.0, 10.0], [1.0, 0.0], [0.0, 2.0]]"),
        ({"retrieval.metric": "l2"}, "True [[10.0, 10.0], [1.0, 0.0], [0.0, 2.0]]"),
    ],
)
def test_stored_vectors_get_another_distance(folder: Path, changes: dict, seen: str):
    write_script(folder, changes)
    python(folder, "fix_index.py", "old", "new")
    assert python(folder, "-c", LOOK, "new").strip() == seen


def test_an_index_is_rebuilt_with_the_model_that_embeds_the_questions(folder: Path):
    write_script(folder, {"retrieval.index": "rebuild", "retrieval.k": 2})
    said = python(folder, "fix_index.py", "passages.txt", "new", "ab", "the/served/model").split("\n")
    assert set(said[:2]) == {"model the/served/model"}
    assert said[2:4] == ["ab", "aaaaaab"]  # by angle; by inner product the long passage would come first


def test_an_independent_model_is_used_for_both(folder: Path):
    write_script(folder, {"retrieval.index": "independent", "retrieval.metric": "dot"})
    said = python(folder, "fix_index.py", "passages.txt", "new", "ab").split("\n")
    assert set(said[:2]) == {"model sentence-transformers/all-MiniLM-L6-v2"}
    assert said[2:5] == ["aaaaaab", "ab", "b"]


def test_more_passages_for_a_question(folder: Path):
    write_script(folder, {"retrieval.k": 2})
    python(folder, "-c", "import numpy as np; np.save('q.npy', np.float32([[1, 0], [0, 1]]))")
    assert python(folder, "fix_index.py", "old", "q.npy").split("\n")[:2] == ["0 1", "0 2"]
