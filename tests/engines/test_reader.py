"""The models that read complaints, in numpy, against the model classes with the same changes and networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from tests.engines.conftest import build_model, save_tokenizer
from tools.train_matcher.models import ReaderModel
from wfgy_triage.engines import readers
from wfgy_triage.engines.reader import AFTER, BATCH, BEFORE, MOST_TOKENS, PREFIX, Reader, build_reader, framed
from wfgy_triage.engines.reader_blocks import LINEARS, Blocks, Shape
from wfgy_triage.engines.readers import Readers, blend, load_readers
from wfgy_triage.engines.sentence_files import DIMENSIONS, model_folder
from wfgy_triage.engines.sentence_reader import (
    BLOCKS,
    MOST_PIECES,
    SentenceReader,
    load_sentence_states,
)
from wfgy_triage.engines.sentence_reader import PREFIX as SENTENCES
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import read_json
from wfgy_triage.exl2.tensor_file import read_array, read_header

CLASSES = ["json_breaks", "none", "wrong_snippet"]
TEXTS = ["JSON breaks", "", "a much longer text " * 30, "量化之后", *[f"number {i}" for i in range(BATCH)]]


def networks(count: int) -> dict[str, np.ndarray]:
    """Networks of five hidden units, drawn."""
    drawn, shapes = np.random.default_rng(1), {"inner": (5, len(BLOCKS) * DIMENSIONS), "outer": (3, 5)}
    made = {}
    for number in range(count):
        for part, shape in shapes.items():
            made[f"{number}.{part}.weight"] = drawn.normal(size=shape).astype(np.float32)
            made[f"{number}.{part}.bias"] = drawn.normal(size=shape[0]).astype(np.float32)
    return made


GEMMA = {
    "model_type": "gemma3_text",
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
    "query_pre_attn_scalar": 24,
    "sliding_window": 512,
    "num_hidden_layers": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 4,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    },
}
"""A tiny model of the reader's kind; the real one has a window of 512 too."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, object]:
    """A tiny model, a file of changes, and the model class with these changes made."""
    folder = tmp_path_factory.mktemp("tiny")
    model = build_model(3, **GEMMA)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
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
    made = {f"{PREFIX}{n}": tensor for n, tensor in made.items()}
    made |= {f"{SENTENCES}{name}": tensor for name, tensor in networks(2).items()}
    changes = folder / "changes.safetensors"
    settled = {"classes": json.dumps(CLASSES), "shares": "[0.75, 0.25]", "none_factor": "2.5"}
    save_file({n: t.astype(np.float32) for n, t in made.items()}, changes, settled)
    return folder, changes, model


def kept_in(changes: Path, prefix: str) -> dict[str, np.ndarray]:
    """What the file holds of one reader."""
    with safe_open(changes, "np") as file:
        names = [n for n in file.keys() if n.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def shares(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the shares of classes."""
    return torch.log_softmax(torch.tensor(logits), dim=-1).numpy()


@pytest.mark.parametrize("whole", [False, True])
def test_the_blocks_are_those_of_the_changed_model(folders, whole: bool):
    folder, changes, model = folders
    made, tokenizer = kept_in(changes, PREFIX), Tokenizer.from_file(str(folder / "tokenizer.json"))
    weights = {n: read_array(n, meta) for n, meta in read_header(folder / "model.safetensors").items()}
    shape = Shape.of(read_json(folder / "config.json"))
    reader = Reader(Blocks(shape, weights, made, 0 if whole else shape.layers), tokenizer, made)
    ours = reader.logits(TEXTS)
    assert ours.shape == (len(TEXTS), 3)
    for row, text in zip(ours, TEXTS, strict=True):
        ids = torch.tensor([framed(tokenizer, text)])
        seen = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool)
        seen = seen if whole else seen.tril()
        with torch.no_grad():
            # One mask for both kinds of blocks, since no text is as long as the window.
            masks = dict.fromkeys(set(GEMMA["layer_types"]), seen)
            states = model.model(input_ids=ids, attention_mask=masks).last_hidden_state[0, 1:].mean(0)
        expected = made["head.weight"] @ states.numpy() + made["head.bias"]
        np.testing.assert_allclose(row, shares(expected), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(reader.logits(TEXTS[2:3])[0], ours[2], rtol=1e-4, atol=1e-4)


def test_what_was_settled_is_read_from_the_file(folders):
    folder, changes, _ = folders
    trained = load_readers(folder, changes)
    assert (trained.classes, trained.reader.shares) == (tuple(CLASSES), (0.75, 0.25))
    assert trained.none_factor == 2.5
    assert trained.reader.logits([]).shape == (0, 3)
    each = trained.reader.each(TEXTS)
    np.testing.assert_array_equal(trained.reader.logits(TEXTS), blend(each, (0.75, 0.25)))
    np.testing.assert_array_equal(each[0], build_reader(folder, kept_in(changes, PREFIX)).logits(TEXTS))


def test_what_was_trained_is_read_as_it_was_trained(folders):
    folder, _, _ = folders
    torch.manual_seed(3)
    model = ReaderModel(folder, 3).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    kept = {n: t.float().numpy() for n, t in model.tensors().items()}
    changed = {n.split(".")[2] for n in kept if n.startswith("model")}
    assert changed == {"6", "7"}, "the blocks below see what is before a token alone, and stay"
    with torch.no_grad():
        expected = shares(model(model.lower(model.rows(TEXTS))).numpy())
    ours = build_reader(folder, kept).logits(TEXTS)
    np.testing.assert_allclose(ours, expected, rtol=2e-2, atol=2e-2)
    assert np.abs(np.diff(ours, axis=0)).max() > 0.1, "texts differ by more than the tolerance"


def test_a_training_goes_on_from_what_another_left(folders, tmp_path: Path):
    folder, _, _ = folders
    torch.manual_seed(4)
    first, second = ReaderModel(folder, 3), ReaderModel(folder, 3)
    for parameter in first.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    left = {f"{PREFIX}{n}": t.float().numpy() for n, t in first.tensors().items()}
    save_file(left, tmp_path / "left.safetensors", {"step": "64"})
    assert second.go_on(tmp_path / "left.safetensors", PREFIX) == 64
    with torch.no_grad():
        said = [model(model.lower(model.rows(TEXTS[:3]))).numpy() for model in (first, second)]
    np.testing.assert_allclose(said[0], said[1], rtol=2e-2, atol=2e-2)


def test_states_are_those_of_the_sentence_model():
    folder, ours = model_folder(), load_sentence_states(model_folder()).of(TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    for row, text in zip(ours, TEXTS, strict=True):
        pieces = tokenizer(text, return_tensors="pt", truncation=True, max_length=MOST_PIECES)
        with torch.no_grad():
            states = model(**pieces, output_hidden_states=True).hidden_states
        means = [torch.nn.functional.normalize(states[block][0].mean(0), dim=0) for block in BLOCKS]
        np.testing.assert_allclose(row, torch.cat(means).numpy(), atol=1e-5)
    assert load_sentence_states(folder).of([]).shape == (0, len(BLOCKS) * DIMENSIONS)


def test_what_the_networks_say_is_averaged():
    states, made = load_sentence_states(model_folder()), networks(2)
    ours = SentenceReader(states, made).logits(TEXTS)
    inputs, said = torch.tensor(states.of(TEXTS)), []
    for number in "01":
        part = {n[2:]: torch.tensor(t) for n, t in made.items() if n.startswith(number)}
        hidden = torch.nn.functional.gelu(inputs @ part["inner.weight"].T + part["inner.bias"])
        said.append(torch.log_softmax(hidden @ part["outer.weight"].T + part["outer.bias"], dim=1))
    np.testing.assert_allclose(ours, torch.stack(said).mean(0).numpy(), atol=1e-5)


def test_each_reader_has_its_share_in_what_is_said():
    first, second = np.log([[0.8, 0.1, 0.1]]) + 7, np.log([[0.2, 0.6, 0.2]])
    mixed = np.exp(blend([first, second], [0.75, 0.25]))
    np.testing.assert_allclose(mixed, [[0.8**0.75 * 0.2**0.25, 0.1**0.75 * 0.6**0.25, 0.1**0.75 * 0.2**0.25]])

    class Says:
        def __init__(self, logits):
            self.logits = lambda texts: logits

    both = Readers((Says(first), Says(second)), (0.75, 0.25))
    np.testing.assert_array_equal(both.logits(["a"]), blend([first, second], [0.75, 0.25]))
    with pytest.raises(ValueError, match="zip"):
        blend([first, second], [1.0])


def test_a_text_is_read_in_its_frame_and_up_to_its_length(folders):
    tokenizer = Tokenizer.from_file(str(folders[0] / "tokenizer.json"))
    assert tokenizer.decode(framed(tokenizer, "it loops")) == f"{BEFORE}it loops{AFTER}"
    assert len(framed(tokenizer, "x" * 5 * MOST_TOKENS)) == MOST_TOKENS


@pytest.mark.parametrize("damage", ["model", "changes", "tokenizer", "mismatch", "networks", "reader"])
def test_what_is_missing_or_damaged_is_said_plainly(folders, tmp_path: Path, damage: str):
    folder, changes, _ = folders
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if damage == "model":
        (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{}")
    elif damage in ("networks", "reader"):
        gone = SENTENCES if damage == "networks" else PREFIX
        with safe_open(changes, "np") as file:
            kept = {n: file.get_tensor(n) for n in file.keys() if not n.startswith(gone)}  # noqa: SIM118
            save_file(kept, tmp_path / changes.name, file.metadata())
    elif damage == "changes":
        (tmp_path / changes.name).unlink()
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"layer_types": ["full_attention"] * 9}))
    with pytest.raises(PrerequisiteError, match="cannot be loaded") as said:
        load_readers(tmp_path, tmp_path / changes.name)
    assert "wfgy_triage demo" in said.value.hint


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_damaged_sentence_model_is_named_and_not_the_other_one(
    folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
):
    for path in model_folder().iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / file).unlink()
    (tmp_path / file).write_text("{}")
    monkeypatch.setattr(readers, "model_folder", lambda: tmp_path)
    with pytest.raises(PrerequisiteError, match=r"The sentence model of .* cannot be loaded") as said:
        load_readers(folders[0], folders[1])
    assert "pip install" in said.value.hint
