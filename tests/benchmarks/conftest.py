"""A tiny FP16 model for the checks of a GPU machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer


@pytest.fixture(scope="module")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "fp16"
    build_model(**FAMILIES["llama"]).half().save_pretrained(folder)
    save_tokenizer(folder)
    return folder
