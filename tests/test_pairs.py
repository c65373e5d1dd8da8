from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.pairs import Pair, get_pair, load_pairs, register_pairs
from wfgy_triage.settings import Settings


def write(settings: Settings, text: str) -> None:
    settings.pairs_file.parent.mkdir(parents=True, exist_ok=True)
    settings.pairs_file.write_text(text, encoding="utf-8")


def test_no_file_is_an_empty_list(settings: Settings):
    assert load_pairs(settings) == {}


def test_relative_paths_start_at_the_file_and_order_is_kept(settings: Settings):
    write(
        settings, "pairs:\n- {id: b, fp16: m/f, exl2: m/q}\n- {id: a, name: A, fp16: /f, exl2: /q, note: n}\n"
    )
    pairs = load_pairs(settings)
    assert list(pairs) == ["b", "a"]
    assert pairs["b"].fp16 == settings.home.resolve() / "m" / "f"
    assert (pairs["a"].name, pairs["a"].note, pairs["b"].name) == ("A", "n", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pairs: [", "not valid YAML"),
        ("- a", "no list named 'pairs'"),
        ("pairs:\n- 3", "Entry 1"),
        ("pairs:\n- {id: a, fp16: x}", "lacks exl2"),
        ("pairs:\n- {id: ../etc, fp16: x, exl2: y}", "../etc"),
        ("pairs:\n- {id: 'a b', fp16: x, exl2: y}", "a b"),
        (
            "pairs:\n- {id: a, fp16: x, exl2: y}\n- {id: a, fp16: z, exl2: w}",
            "Entry 2 of pairs.yaml has an id again",
        ),
    ],
)
def test_a_malformed_file_is_explained(settings: Settings, text: str, said: str):
    write(settings, text)
    with pytest.raises(InputError, match="^[^\n]*") as caught:
        load_pairs(settings)
    assert said in caught.value.message
    assert caught.value.hint


def test_unknown_ids_name_the_known_ones(settings: Settings):
    write(settings, "pairs:\n- {id: mine, fp16: x, exl2: y}\n")
    with pytest.raises(InputError) as caught:
        get_pair(settings, "../../etc/passwd")
    assert "mine" in caught.value.hint


def test_a_pair_without_folders_is_not_ready(settings: Settings):
    write(settings, "pairs:\n- {id: mine, fp16: x, exl2: y}\n")
    with pytest.raises(PrerequisiteError, match="not complete"):
        get_pair(settings, "mine")


def test_registering_replaces_by_id_and_keeps_the_rest(settings: Settings, tmp_path: Path):
    write(
        settings,
        "pairs:\n- {id: old, fp16: /x, exl2: /y, engine: {cache: q8}}\n- {id: demo, fp16: /1, exl2: /2}\n",
    )
    register_pairs(settings, [Pair("demo", "Demo", tmp_path, tmp_path, "said", {})])
    data = yaml.safe_load(settings.pairs_file.read_text("utf-8"))["pairs"]
    assert [p["id"] for p in data] == ["old", "demo"]
    assert data[0]["engine"] == {"cache": "q8"}
    assert data[1] == {
        "id": "demo",
        "name": "Demo",
        "fp16": str(tmp_path),
        "exl2": str(tmp_path),
        "note": "said",
    }
    assert list(settings.pairs_file.parent.iterdir()) == [settings.pairs_file]


def test_an_id_that_no_result_could_carry_makes_no_pair(tmp_path: Path):
    with pytest.raises(InputError, match=r"'at-2\.3bpw' cannot name a pair"):
        Pair("at-2.3bpw", "Two point three", tmp_path, tmp_path)


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/m", "a\\0b"])
@pytest.mark.parametrize("side", ["fp16", "exl2"])
def test_a_folder_that_cannot_be_a_path_is_explained(settings: Settings, folder: str, side: str):
    sides = {"fp16": "x", "exl2": "y", side: folder}
    write(settings, f'pairs:\n- {{id: a, fp16: "{sides["fp16"]}", exl2: "{sides["exl2"]}"}}\n')
    with pytest.raises(InputError, match="Entry 1") as caught:
        load_pairs(settings)
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_explained(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    write(settings, "pairs: []\n")

    def refused(*args, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        load_pairs(settings)


def test_lists_in_lists_without_end_are_explained(settings: Settings):
    write(settings, "pairs: " + "[" * 5_000)
    with pytest.raises(InputError, match="not valid YAML"):
        load_pairs(settings)


def test_what_one_account_registers_others_can_read_unless_it_was_closed(settings: Settings):
    pair = Pair("a", "A", settings.home / "f", settings.home / "q")
    register_pairs(settings, [pair])
    assert settings.pairs_file.stat().st_mode & 0o777 == 0o644
    settings.pairs_file.chmod(0o600)
    register_pairs(settings, [pair])
    assert settings.pairs_file.stat().st_mode & 0o777 == 0o600
