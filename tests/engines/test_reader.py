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
from wfgy_triage.engines.reader import (
    AFTER,
    BATCH,
    BEFORE,
    BOTH_WAYS,
    FORWARD,
    MOST_TOKENS,
    Manner,
    Training,
    build_reader,
    framed,
)
from wfgy_triage.engines.reader_blocks import LINEARS
from wfgy_triage.engines.readers import Readers, blend, load_readers
from wfgy_triage.engines.sentence_files import DIMENSIONS, model_folder
from wfgy_triage.engines.sentence_reader import (
    BLOCKS,
    MOST_PIECES,
    PREFIX,
    SentenceReader,
    load_sentence_states,
)
from wfgy_triage.errors import PrerequisiteError

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
    prefixes = {FORWARD.prefix: 1.0, BOTH_WAYS.prefix: 0.5}
    made = {
        f"{prefix}{n}": tensor * times for prefix, times in prefixes.items() for n, tensor in made.items()
    }
    made |= {f"{PREFIX}{name}": tensor for name, tensor in networks(2).items()}
    changes = folder / "changes.safetensors"
    settled = {"classes": json.dumps(CLASSES), "shares": "[0.5, 0.25, 0.25]", "none_factor": "2.5"}
    save_file({n: t.astype(np.float32) for n, t in made.items()}, changes, settled)
    return folder, changes, model


def kept_in(changes: Path, prefix: str) -> dict[str, np.ndarray]:
    """What the file holds of one training."""
    with safe_open(changes, "np") as file:
        names = [n for n in file.keys() if n.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def shares(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the shares of classes."""
    return torch.log_softmax(torch.tensor(logits), dim=-1).numpy()


def test_logits_are_those_of_the_changed_model(folders):
    folder, changes, model = folders
    trained = load_readers(folder, changes)
    assert (trained.classes, trained.reader.shares) == (tuple(CLASSES), (0.5, 0.25, 0.25))
    assert trained.none_factor == 2.5
    tokenizer, reader = Tokenizer.from_file(str(folder / "tokenizer.json")), trained.reader.parts[0]
    ours, both_ways = reader.logits(TEXTS)
    assert ours.shape == both_ways.shape == (len(TEXTS), 3)
    head = {n: torch.tensor(t) for n, t in kept_in(changes, FORWARD.prefix).items() if n.startswith("head")}
    for row, text in zip(ours, TEXTS, strict=True):
        with torch.no_grad():
            states = model.model(input_ids=torch.tensor([framed(tokenizer, text)])).last_hidden_state[0, -1]
        expected = states @ head["head.weight"].T + head["head.bias"]
        np.testing.assert_allclose(row, shares(expected.numpy()), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(reader.logits(TEXTS[2:3])[0][0], ours[2], rtol=1e-4, atol=1e-4)
    assert trained.reader.logits([]).shape == (0, 3)


def test_read_both_ways_every_token_sees_the_whole_text(folders):
    folder, changes, model = folders
    made = kept_in(changes, FORWARD.prefix)
    (ours,) = build_reader(folder, [Training(Manner("turned.", 0, True), made)]).logits(TEXTS)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for row, text in zip(ours, TEXTS, strict=True):
        ids = torch.tensor([framed(tokenizer, text)])
        every = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool)
        with torch.no_grad():
            states = model.model(input_ids=ids, attention_mask=every).last_hidden_state[0, 1:].mean(0)
        expected = made["head.weight"] @ states.numpy() + made["head.bias"]
        np.testing.assert_allclose(row, shares(expected), rtol=2e-3, atol=2e-3)


def test_manners_that_go_through_the_model_together_say_what_each_says_alone(folders):
    folder, changes, _ = folders
    manners = [Manner("late.", 2, True), FORWARD, Manner("early.", 1, True), Manner("as early.", 1)]
    made = [kept_in(changes, prefix) for prefix in (BOTH_WAYS.prefix, FORWARD.prefix)]
    each = [Training(manner, made[k % 2]) for k, manner in enumerate(manners)]
    ours = build_reader(folder, each).logits(TEXTS)
    for found, training in zip(ours, each, strict=True):
        alone = build_reader(folder, [training]).logits(TEXTS)[0]
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-4)
    assert np.abs(ours[0] - ours[2]).max() > 0.01, "they differ"


@pytest.mark.parametrize("manner", [Manner("on."), Manner("turned.", 1, True), Manner("turned.", 2, False)])
def test_what_was_trained_is_read_in_the_manner_in_which_it_was_trained(
    folders, tmp_path: Path, manner: Manner
):
    folder, _, _ = folders
    torch.manual_seed(3)
    model = ReaderModel(folder, 3, manner).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    kept = {n: t.float().numpy() for n, t in model.tensors().items()}
    changed = {n.split(".")[2] for n in kept if n.startswith("model")}
    assert changed == {str(block) for block in range(manner.both_ways or 0, 3)}
    with torch.no_grad():
        expected = shares(model(model.rows(TEXTS)).numpy())
    (ours,) = build_reader(folder, [Training(manner, kept)]).logits(TEXTS)
    np.testing.assert_allclose(ours, expected, rtol=5e-3, atol=5e-3)
    assert np.abs(np.diff(ours, axis=0)).max() > 0.05, "texts differ by more than the tolerance"


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
    (ours,) = SentenceReader(states, made).logits(TEXTS)
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

    both = Readers((Says([first, second]), Says([first])), (0.75, 0.25, 0.0))
    np.testing.assert_array_equal(both.logits(["a"]), blend([first, second], [0.75, 0.25]))
    with pytest.raises(ValueError, match="zip"):
        blend([first, second], [1.0])


def test_a_text_is_read_up_to_its_length_and_its_frame_stays(folders):
    tokenizer = Tokenizer.from_file(str(folders[0] / "tokenizer.json"))
    long, longer = framed(tokenizer, "x" * MOST_TOKENS), framed(tokenizer, "x" * 5 * MOST_TOKENS)
    assert long == longer
    assert len(long) == MOST_TOKENS + len(BEFORE.encode()) + len(AFTER.encode())


@pytest.mark.parametrize("damage", ["model", "changes", "tokenizer", "mismatch", "networks", "both ways"])
def test_what_is_missing_or_damaged_is_said_plainly(folders, tmp_path: Path, damage: str):
    folder, changes, _ = folders
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if damage == "model":
        (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{}")
    elif damage in ("networks", "both ways"):
        gone = PREFIX if damage == "networks" else BOTH_WAYS.prefix
        with safe_open(changes, "np") as file:
            kept = {n: file.get_tensor(n) for n in file.keys() if not n.startswith(gone)}  # noqa: SIM118
            save_file(kept, tmp_path / changes.name, file.metadata())
    elif damage == "changes":
        (tmp_path / changes.name).unlink()
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}))
    with pytest.raises(PrerequisiteError, match="cannot be loaded") as said:
        load_readers(tmp_path, tmp_path / changes.name)
    assert "wfgy_triage demo" in said.value.hint
