"""The fix map: complete, consistent, and honest about its faults."""

import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from wfgy_triage.catalog import FIXMAP, load_catalog
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.fixmap_files import read_fixmap_file

SEED_ROWS = {
    "citations_missing": (
        "Text fluency high, citations missing",
        "Schema loosened in quantized path",
        {"Data Contracts": (), "Retrieval Traceability": (8,)},
    ),
    "wrong_snippet": (
        "Wrong snippet despite high similarity",
        "Index mismatch after quantization",
        {"Embedding ≠ Semantic": (5,), "Vectorstore Fragmentation": ()},
    ),
    "json_breaks": (
        "JSON breaks frequently",
        "Quantization noise amplifies schema drift",
        {"Logic Collapse": (6,), "Data Contracts": ()},
    ),
    "long_chain": (
        "Long chain divergence after 20–40 steps",
        "Numerical error accumulation",
        {"Entropy Collapse": (9,), "Context Drift": (3,)},
    ),
    "deploy_mismatch": (
        "Deployment mismatch",
        "Torch vs ExLlama kernels version skew",
        {"Bootstrap Ordering": (14,), "Pre-deploy Collapse": (16,)},
    ),
}
CAUSES = """
weights_too_few_bits head_bits_too_few kv_cache_bits rope_mismatch tokenizer_mismatch chat_template_mismatch
special_tokens_mismatch sampler_settings context_overflow checkpoint_corrupt checkpoint_mismatch noncausal_prefill
kernel_version_skew extension_missing schema_unconstrained prompt_contract_missing index_model_mismatch
index_fragmented index_metric_mismatch baseline_also_fails within_noise unknown config_mismatch model_not_loadable
main_memory
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the fix map to damage."""
    folder = tmp_path / "fixmap"
    shutil.copytree(FIXMAP, folder)
    return folder


def _edit(folder: Path, name: str, old: str, new: str) -> int:
    """Replace the first `old`; the line on which it stood."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    at = text.index(old)
    path.write_text(text[:at] + new + text[at + len(old) :], encoding="utf-8")
    return text.count("\n", 0, at) + 1


@pytest.mark.parametrize("symptom_id", SEED_ROWS)
def test_the_seeds_table_is_there_word_for_word(symptom_id):
    catalog = load_catalog()
    label, cause, modules = SEED_ROWS[symptom_id]
    symptom = catalog.symptoms[symptom_id]
    assert (symptom.kind, symptom.label, symptom.likely_cause) == ("symptom", label, cause)
    links = catalog.symptom_modules(symptom_id)
    assert {link.title: link.problem_numbers for link in links} == modules
    assert len(symptom.examples) >= 12
    assert catalog.gates[symptom.gates[0]].metric == symptom.primary_metric


def test_the_acceptance_list_holds_the_seeds_gates():
    catalog = load_catalog()
    gate = catalog.symptoms["acceptance_gate"]
    assert gate.kind == "gate"
    found = {g.metric: (g.op, g.value, g.origin) for g in map(catalog.gates.__getitem__, gate.gates)}
    assert found == {
        "ds_drift": ("<=", 0.10, "seed"),
        "coverage": (">=", 0.70, "seed"),
        "lambda_rate": (">=", 0.80, "seed"),
        "latency_gain": (">=", 0.25, "seed"),
        "accuracy": ("<=", 0.05, "seed"),
    }


def test_every_cause_and_every_probe_gate_is_there():
    catalog = load_catalog()
    assert set(catalog.causes) >= set(CAUSES.split())
    values = {g.metric: g.value for g in catalog.gates.values()}
    assert values["parse_valid_rate"] == 0.99
    assert values["schema_valid_rate"] == 0.98
    assert values["cite_first_rate"] == 0.98
    assert values["field_completeness"] == 0.99
    assert values["citation_correct_rate"] == 0.95
    assert values["score_rank_correlation"] == 0.90
    assert {t.id for t in catalog.terms.values()} == {
        "delta_s", "lambda_observe", "e_resonance", "BBMC", "BBPF", "BBCR", "BBAM",
    }  # fmt: skip
    assert [item.text for item in catalog.ops] == [
        "Always compare ΔS/λ vs FP16 baseline before shipping",
        "Pin ExLlama kernels to version matching torch/cuBLAS build",
        "Log coverage and citation schema at runtime",
        "Guard JSON outputs with schema validators",
    ]


def test_no_complaint_is_listed_under_two_symptoms():
    examples = [e.casefold() for s in load_catalog().symptoms.values() for e in s.examples]
    assert len(examples) == len(set(examples))


def test_addresses_are_the_living_ones():
    catalog = load_catalog()
    prefix = "https://github.com/onestardao/WFGY"
    urls = [m.url for m in catalog.modules.values()] + [
        u for m in catalog.modules.values() for u in m.see_also
    ]
    urls += [link.url for link in (*catalog.downloads, *catalog.footer)]
    urls += [g.source_url for g in catalog.gates.values()] + [t.source_url for t in catalog.terms.values()]
    assert all(url.startswith(prefix) for url in urls)
    dead = ("/SemanticBlueprint/README.md", "/benchmarks/benchmark-vs-gpt5", "/ProblemMap/eval/")
    assert not [url for url in urls for piece in dead if piece in url.replace("/archive/", "/")
                and "archive" not in url]  # fmt: skip
    moved = {link.label for link in catalog.footer if link.seed_url}
    assert moved == {"Problem Map 2.0", "Semantic Blueprint", "Benchmark vs GPT-5"}


def test_an_unknown_id_names_the_known_ones():
    catalog = load_catalog()
    with pytest.raises(InputError, match="no symptom with the id 'jsn'") as caught:
        catalog.symptoms["jsn"]
    assert "json_breaks" in caught.value.hint
    assert "jsn" not in catalog.symptoms
    assert catalog.symptoms.get("jsn") is None


def test_records_are_frozen_and_loaded_once():
    catalog = load_catalog()
    assert load_catalog() is catalog
    with pytest.raises(FrozenInstanceError):
        catalog.symptoms["json_breaks"].title = "x"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("symptoms.yaml", "kind: symptom\n", "kind: syndrome\n", "syndrome"),
        ("symptoms.yaml", "icon: braces", "icno: braces", "icno"),
        (
            "symptoms.yaml",
            "primary_metric: schema_valid_rate",
            "primary_metric: speed",
            "not in metrics.yaml",
        ),
        (
            "symptoms.yaml",
            "modules: [logic-collapse, data-contracts]",
            "modules: [gone]",
            "not in modules.yaml",
        ),
        ("symptoms.yaml", "  - id: json_breaks", "  - id: citations_missing", "given twice"),
        ("symptoms.yaml", "    icon: braces\n", "    icon: braces\n    icon: plug\n", "given twice"),
        ("modules.yaml", "problem_numbers: [6]", "problem_numbers: [17]", "17"),
        (
            "modules.yaml",
            "url: https://github.com/onestardao/WFGY/blob/main/ProblemMap/logic",
            "url: ftp://x",
            "ftp",
        ),
        ("causes.yaml", "remedies: [cache_bits, segment_chain]", "remedies: [magic]", "not in remedies.yaml"),
        ("gates.yaml", 'op: ">=", value: 0.70', 'op: ">", value: 0.70', "'>'"),
        ("gates.yaml", "metric: ds_cross", "metric: ds_crass", "not in metrics.yaml"),
        ("metrics.yaml", "unit: share", "unit: 5", "5 is not of type"),
        ("remedies.yaml", "wfgy: [BBPF]", "wfgy: [BBQ]", "not in wfgy.yaml"),
        ("checklist.yaml", "symptoms: [json_breaks]", "symptoms: [nothing]", "not in symptoms.yaml"),
    ],
)
def test_a_fault_is_reported_with_file_and_line(copy, name, old, new, message):
    line = _edit(copy, name, old, new)
    with pytest.raises(PrerequisiteError) as caught:
        load_catalog(copy)
    text = caught.value.message
    assert message in text
    assert text.startswith(f"fixmap/{name} line ")
    named = int(text.split(" line ")[1].split(":")[0])
    assert named in (line, line + 1)  # the second of two equal keys stands on the next line


def test_broken_yaml_names_the_line(copy):
    line = _edit(copy, "causes.yaml", "causes:", "causes: [")
    with pytest.raises(PrerequisiteError, match=r"fixmap/causes\.yaml line \d+: not valid YAML") as caught:
        load_catalog(copy)
    assert int(caught.value.message.split(" line ")[1].split(":")[0]) >= line


@pytest.mark.parametrize(
    "text", ["", "just text", "- a\n- b\n", "causes: 2031-99-99\n", "causes: !!python/name:os.system\n"]
)
def test_a_file_of_another_shape_is_refused(copy, text):
    (copy / "causes.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PrerequisiteError, match=r"fixmap/causes\.yaml"):
        load_catalog(copy)


@pytest.mark.parametrize("gone", ["gates.yaml", "schema/gates.schema.json"])
def test_a_missing_file_is_named(copy, gone):
    (copy / gone).unlink()
    with pytest.raises(PrerequisiteError, match=Path(gone).name.replace(".", r"\.")):
        load_catalog(copy)


def test_a_file_that_is_not_text_is_refused(copy):
    (copy / "gates.yaml").write_bytes(b"\xff\xfe\x00gates")
    with pytest.raises(PrerequisiteError, match=r"gates\.yaml"):
        load_catalog(copy)


def test_the_reader_agrees_with_plain_yaml():
    for stem in ("symptoms", "modules", "gates", "causes", "remedies", "wfgy", "metrics", "checklist"):
        text = (FIXMAP / f"{stem}.yaml").read_text(encoding="utf-8")
        assert read_fixmap_file(FIXMAP, stem).data == yaml.safe_load(text)
