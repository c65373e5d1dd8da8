"""Which weights spoil the vectors: tiny models that differ in one known part, searched with each part put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from tests.probes.desk import Bench
from tests.probes.foreign import Foreign
from tests.probes.retrieval_fakes import WordEncoder
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.localized import Damage
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.chart_data import damage_chart
from wfgy_triage.probes.retrieval_parts import part_damage
from wfgy_triage.probes.wrong_snippet import WrongSnippet
from wfgy_triage.report.figures import build_figures, figure_table

QUESTIONS, K = 6, 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, and a sibling with one block's MLP and the head of another."""
    settings = {**FAMILIES["llama"], "tie_word_embeddings": False}
    other, made = build_model(1, **settings), {}
    for name in ("fp16", "exl2"):
        model = build_model(0, **settings)
        if name == "exl2":
            model.lm_head.weight.data.copy_(other.lm_head.weight)
            model.model.layers[1].mlp.load_state_dict(other.model.layers[1].mlp.state_dict())
        made[name] = tmp_path_factory.mktemp(name)
        model.half().save_pretrained(made[name])
        save_tokenizer(made[name])
    return made


def desk_of(folders: dict[str, Path], mode: str, layer: str = "last") -> Bench:
    fp16, exl2 = (open_engine(folders[name], side="fp16") for name in ("fp16", "exl2"))
    settings = ProbeSettings(questions=QUESTIONS, options={"mode": mode, "layer": layer})
    return Bench(WrongSnippet(WordEncoder), fp16, exl2, fp16, settings)


@pytest.fixture(autouse=True)
def all_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which passages a random model finds is chance; here every question counts as lost by EXL2's own vectors."""
    monkeypatch.setattr(
        "wfgy_triage.probes.wrong_snippet.lost",
        lambda samples, settings: tuple(s.key.question for s in samples if s.key.side == "exl2"),
    )


def damage_of(desk: Bench) -> Damage:
    lost = [s.key.question for s in desk.side("exl2")]
    found = part_damage(tuple(desk.samples.values()), lost, K)
    assert found is not None
    return found


@pytest.mark.parametrize("mode", ["mixed", "rebuilt"])
def test_the_part_that_differs_is_named_and_putting_it_back_ends_the_disorder(folders, mode):
    desk = desk_of(folders, mode)
    desk.run()
    found = damage_of(desk)
    by_id = {p.id: p for p in found.parts}
    assert found.worst is not None
    assert (found.worst.id, found.questions) == ("mlp 1-1", QUESTIONS)
    assert found.drift > 0.001
    assert found.share(by_id["all"]) > 0.999
    assert found.share(by_id["mlp 1-1"]) > 0.999
    assert "head" not in by_id, "hidden states do not pass through the head"
    innocent = [p for p in found.parts if p.id not in ("all", "mlp 1-1")]
    assert {p.id for p in innocent} >= {"attn 0-0", "mlp 0-0"}
    assert all(abs(found.share(p)) < 1e-6 for p in innocent)
    ranks = {s.key.question: s.payload["rank"] for s in desk.side("fp16")}
    assert by_id["all"].restored == sum(r <= K for r in ranks.values())
    assert by_id["all"].asked == QUESTIONS
    # With everything back each passage stands where FP16 puts it.
    assert {s.key.question: s.payload["rank"] for s in desk.side("part:all")} == ranks


def test_blocks_above_the_layer_in_use_are_not_put_back(folders):
    desk = desk_of(folders, "mixed", layer="1")
    desk.run()
    assert {p.id for p in damage_of(desk).parts if p.id != "all"} == {"attn 0-0", "mlp 0-0"}


def test_a_pass_in_pieces_stores_the_same_and_a_second_one_nothing(folders):
    whole, desk = desk_of(folders, "mixed"), desk_of(folders, "mixed")
    whole.run()
    while len(desk.samples) < len(whole.samples):
        limit = len(desk.samples) + 2 * QUESTIONS + 1
        desk.run(lambda limit=limit: len(desk.samples) >= limit)
    assert desk.samples == whole.samples
    assert desk.run().samples == whole.samples


def test_the_first_few_parts_of_a_stopped_run_blame_none(folders):
    whole, desk = desk_of(folders, "mixed").run(), desk_of(folders, "mixed")
    limit = len(whole.samples) - QUESTIONS
    desk.run(lambda: len(desk.samples) >= limit)
    sides = {s.key.side for s in whole.samples.values()} - {s.key.side for s in desk.samples.values()}
    assert len(sides) == 1, "one part was not come to"
    assert part_damage(tuple(desk.samples.values()), [], K) is None
    # Sessions of before did not say of how many parts theirs was one; what they found is still shown.
    for sample in desk.samples.values():
        sample.payload.pop("parts", None)
    assert part_damage(tuple(desk.samples.values()), [], K) is not None


def test_another_engine_gives_its_weights_to_nobody(folders):
    desk = desk_of(folders, "mixed")
    desk.exl2 = Foreign(desk.exl2)
    desk.run()
    assert not [s for s in desk.samples.values() if s.key.side.startswith("part:")]
    assert part_damage(tuple(desk.samples.values()), [], K) is None


def test_the_figure_says_what_was_measured(folders):
    desk = desk_of(folders, "mixed")
    desk.run()
    found = damage_of(desk)
    charts = damage_chart(found)
    assert "order of the passages" in str(build_figures(charts)["damage"]["layout"]["xaxis"]["title"])
    table = figure_table("damage", charts)
    assert "1 − ρ left" in table
    assert f"of {QUESTIONS} passages are found again" in table
    words = figure_table("damage", damage_chart(replace(found, measure="kl")))
    assert "Drift left, nats" in words
    assert "answers come back" in words
