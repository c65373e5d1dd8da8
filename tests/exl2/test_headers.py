import json
import os

import pytest
import torch
from safetensors.torch import save_file

from tests.exl2.builders import edit_header, tiny_tensors, write_folder
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.headers import check_folder_safe, folder_tensors, weights_fingerprint
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.tensor_file import read_array, read_header


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a.weight": torch.arange(6).view(2, 3).float(), "b.weight": torch.ones(4).half()}, path)
    return path


def test_reads_shapes_and_data(file):
    header = read_header(file)
    assert header["a.weight"].shape == (2, 3)
    assert header["b.weight"].nbytes == 8
    assert read_array("a.weight", header["a.weight"]).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("keep", [0, 4, 30, 200])
def test_truncated_file_is_named(file, keep):
    file.write_bytes(file.read_bytes()[: max(0, file.stat().st_size - 5) if keep == 200 else keep])
    with pytest.raises(PrerequisiteError, match="model.safetensors is truncated"):
        read_header(file)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda h: h["a.weight"].update(dtype="X9"), "a.weight has the unknown dtype"),
        (lambda h: h["a.weight"].update(shape=[2, -3]), "a.weight has a malformed shape"),
        (lambda h: h["a.weight"].update(shape=[2, 2]), "a.weight takes 24 bytes"),
        (lambda h: h["a.weight"].update(data_offsets=[0, 1, 2]), "a.weight has a malformed"),
        (lambda h: h["b.weight"].update(data_offsets=[4, 12]), "overlaps"),
        (lambda h: h.update({"a.weight": 3}), "a.weight has a malformed header"),
        (lambda h: h.pop("b.weight"), "after its last tensor|gap"),
    ],
)
def test_malformed_header_names_file_and_tensor(file, edit, text):
    edit_header(file, edit)
    with pytest.raises(PrerequisiteError, match=text) as caught:
        read_header(file)
    assert "model.safetensors" in caught.value.message
    assert caught.value.hint


def test_repeated_name_in_a_header_is_refused(file):
    raw = file.read_bytes()
    text = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[-1:])
    with pytest.raises(PrerequisiteError, match="appears twice"):
        read_header(file)


def test_shards_are_joined_and_checked_against_their_index(tmp_path):
    tensors = tiny_tensors()
    folder = write_folder(tmp_path / "m", tensors, shards=3)
    assert set(folder_tensors(folder)) == set(tensors)
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["model.ghost.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(data))
    with pytest.raises(PrerequisiteError, match=r"model\.ghost\.weight"):
        folder_tensors(folder)


def test_an_index_of_files_that_are_not_here_says_nothing(tmp_path):
    """exllamav2's converter copies the index of the FP16 shards beside the files that it writes."""
    source = write_folder(tmp_path / "fp16", tiny_tensors(), shards=3)
    quantize_folder(source, tmp_path / "exl2", bpw=6.5, method="rtn")
    before = folder_tensors(tmp_path / "exl2")
    index = "model.safetensors.index.json"
    (tmp_path / "exl2" / index).write_bytes((source / index).read_bytes())
    assert folder_tensors(tmp_path / "exl2") == before
    read_folder(tmp_path / "exl2")
    (source / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(PrerequisiteError, match=r"model\.safetensors\.index\.json places .* not there"):
        folder_tensors(source)
    for shard in source.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(PrerequisiteError, match=r"no \.safetensors file"):
        folder_tensors(source)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_second_copy_under_other_names_is_left_out(tmp_path, shards):
    """As in Mistral's own repositories."""
    tensors = tiny_tensors()
    folder = write_folder(tmp_path / "m", tensors, shards=shards)
    fingerprint = weights_fingerprint(folder)
    copy = {f"layers.{number}.weight": tensor for number, tensor in enumerate(tensors.values())}
    save_file(copy, folder / "consolidated.safetensors")
    (folder / "consolidated.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(copy, "consolidated.safetensors")})
    )
    assert set(folder_tensors(folder)) == set(tensors)
    assert weights_fingerprint(folder) == fingerprint
    quantize_folder(folder, tmp_path / "q", bpw=6.5, method="rtn")
    assert not [name for name in folder_tensors(tmp_path / "q") if name.startswith("layers.")]


def test_weights_that_are_there_once_are_read_whatever_their_file_is_called(tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert set(folder_tensors(folder)) == set(tiny_tensors())


def test_a_tensor_in_two_files_is_refused(tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    save_file({"model.norm.weight": torch.ones(64)}, folder / "other.safetensors")
    with pytest.raises(PrerequisiteError, match=r"model\.norm\.weight is stored twice"):
        folder_tensors(folder)


@pytest.mark.parametrize("name", ["modeling_x.py", "pytorch_model.bin", "weights.pth", "x.ckpt", "y.pkl"])
def test_code_and_pickles_are_refused_by_name(tmp_path, name):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    check_folder_safe(folder)
    (folder / name).write_bytes(b"x")
    with pytest.raises(PrerequisiteError, match=name):
        check_folder_safe(folder)


def test_auto_map_is_refused(tmp_path):
    folder = write_folder(tmp_path / "m", tiny_tensors())
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(PrerequisiteError, match="auto_map"):
        check_folder_safe(folder)


def test_links_must_stay_inside_the_folder_or_its_hub_cache(tmp_path):
    repo = tmp_path / "models--a--b"
    folder = write_folder(repo / "snapshots" / "abc", tiny_tensors())
    (repo / "blobs").mkdir()
    os.replace(folder / "model.safetensors", repo / "blobs" / "123")
    (folder / "model.safetensors").symlink_to("../../blobs/123")
    check_folder_safe(folder)
    secret = tmp_path / "secret"
    secret.write_text("x")
    (folder / "notes.txt").symlink_to(secret)
    with pytest.raises(PrerequisiteError, match=r"notes\.txt is a link"):
        check_folder_safe(folder)


def test_fingerprint_sees_a_change_of_weights_but_not_of_place(tmp_path):
    first = weights_fingerprint(write_folder(tmp_path / "a", tiny_tensors(seed=1)))
    assert first == weights_fingerprint(write_folder(tmp_path / "b", tiny_tensors(seed=1)))
    assert first != weights_fingerprint(write_folder(tmp_path / "c", tiny_tensors(seed=2)))
