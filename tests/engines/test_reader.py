"""The model that reads complaints, in numpy, against the model class with the same low-rank changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from tests.engines.conftest import build_model, save_tokenizer
from wfgy_triage.engines.reader import AFTER, BATCH, BEFORE, LINEARS, MOST_TOKENS, framed, load_reader
from wfgy_triage.errors import PrerequisiteError

CLASSES = ["json_breaks", "none", "wrong_snippet"]
TEXTS = ["JSON breaks", "", "a much longer text " * 30, "量化之后", *[f"number {i}" for i in range(BATCH)]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, object]:
    """A tiny model, a file of changes, and the model class with these changes made."""
    folder = tmp_path_factory.mktemp("tiny")
    model = build_model(3, model_type="llama", tie_word_embeddings=True, initializer_range=0.05)
    model.half().save_pretrained(folder)
    save_tokenizer(folder)
    model = model.float()
    drawn = np.random.default_rng(0)
    made = {"head.weight": drawn.normal(size=(3, 96)), "head.bias": drawn.normal(size=3)}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path.partition("layers.")[2].partition(".")[2] in LINEARS:
            down, up = (
                drawn.normal(size=(4, module.in_features)),
                drawn.normal(size=(module.out_features, 4)) * 0.02,
            )
            made |= {f"{path}.a": down, f"{path}.b": up}
            module.weight.data += torch.tensor(up @ down).float()
    changes = folder / "changes.safetensors"
    settled = {"classes": json.dumps(CLASSES), "none_factor": "2.5"}
    save_file({n: t.astype(np.float32) for n, t in made.items()}, changes, settled)
    return folder, changes, model


def test_logits_are_those_of_the_changed_model(folders):
    folder, changes, model = folders
    trained = load_reader(folder, changes)
    assert (trained.classes, trained.none_factor) == (tuple(CLASSES), 2.5)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours = trained.reader.logits(TEXTS)
    assert ours.shape == (len(TEXTS), 3)
    head = {n: torch.tensor(t) for n, t in trained.reader._changes.items() if n.startswith("head")}
    for row, text in zip(ours, TEXTS, strict=True):
        with torch.no_grad():
            states = model.model(input_ids=torch.tensor([framed(tokenizer, text)])).last_hidden_state[0, -1]
        expected = states @ head["head.weight"].T + head["head.bias"]
        np.testing.assert_allclose(row, expected.numpy(), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(trained.reader.logits(TEXTS[2:3])[0], ours[2], rtol=1e-4, atol=1e-4)
    assert trained.reader.logits([]).shape == (0, 3)


def test_a_text_is_read_up_to_its_length_and_its_frame_stays(folders):
    tokenizer = Tokenizer.from_file(str(folders[0] / "tokenizer.json"))
    long, longer = framed(tokenizer, "x" * MOST_TOKENS), framed(tokenizer, "x" * 5 * MOST_TOKENS)
    assert long == longer
    assert len(long) == MOST_TOKENS + len(BEFORE.encode()) + len(AFTER.encode())


@pytest.mark.parametrize("damage", ["model", "changes", "tokenizer", "mismatch"])
def test_what_is_missing_or_damaged_is_said_plainly(folders, tmp_path: Path, damage: str):
    folder, changes, _ = folders
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if damage == "model":
        (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{}")
    elif damage == "changes":
        (tmp_path / changes.name).unlink()
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}))
    with pytest.raises(PrerequisiteError, match="cannot be loaded") as said:
        load_reader(tmp_path, tmp_path / changes.name)
    assert "wfgy_triage demo" in said.value.hint
