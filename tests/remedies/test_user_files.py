"""A user's own file: the change is in it, everything else is as it was, and what cannot be done is said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.user_files import EDITABLE, LARGEST, against, changed

CACHE = Patch({"model.cache_mode": "Q8"})
LENGTH = Patch({"model.max_seq_len": 5000})
THETA = Patch({"config.rope_theta": 100000})
TORCH = Patch({"pins.torch": "==2.9.0"})
SERVER = """\
# my server
network:
    host:   127.0.0.1   # only here
    port: 5000

model:
    # which one
    model_name: 'my model'
    unknown_key: {a: 1,b: [x,  y]}
    cache_mode:   FP16    # the default
    max_seq_len:
    cache_size: 4096
    loud: yes
"""


@pytest.mark.parametrize(
    ("patch", "old", "new"),
    [
        (CACHE, "cache_mode:   FP16    # the default", "cache_mode:   Q8    # the default"),
        (CACHE.__class__({"model.cache_mode": "FP16"}), "", ""),
        (
            LENGTH,
            "max_seq_len:\n    cache_size: 4096",
            "max_seq_len: 5000\n    cache_size: 5120",
        ),
        (Patch({"model.max_seq_len": 4096}), "max_seq_len:\n", "max_seq_len: 4096\n"),
    ],
)
def test_a_server_configuration(patch: Patch, old: str, new: str):
    assert changed(patch, "tabbyapi", SERVER) == SERVER.replace(old, new)
    assert (against(patch, "tabbyapi", SERVER) == "") == (old == new)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("", "model:\n  cache_mode: Q8\n"),
        ("# nothing yet", "# nothing yet\nmodel:\n  cache_mode: Q8\n"),
        ("a: 1\r\n", "a: 1\r\nmodel:\r\n  cache_mode: Q8\r\n"),
        ("a:\n   b: 1", "a:\n   b: 1\nmodel:\n   cache_mode: Q8\n"),
        ("model:", "model:\n  cache_mode: Q8"),
        ("model: # mine\n# end\n", "model: # mine\n  cache_mode: Q8\n# end\n"),
        ("model: ~\nz: 1\n", "model: {cache_mode: Q8}\nz: 1\n"),
        ("model: {}\n", "model: {cache_mode: Q8}\n"),
        ("model: { a: 1 }\n", "model: {cache_mode: Q8,  a: 1 }\n"),
        ("model:\n  # first\n  a: 1\n", "model:\n  cache_mode: Q8\n  # first\n  a: 1\n"),
        ("model: &m\n  a: 1\nother: *m\n", None),
        ("model:\n  cache_mode: &c FP16\ndraft: *c\n", None),
        ("b: &b {x: 1}\nmodel:\n  <<: *b\n", "b: &b {x: 1}\nmodel:\n  cache_mode: Q8\n  <<: *b\n"),
        ("b: &b {x: 1}\nmodel: *b\n", None),
        ("c: &c FP16\nmodel: {cache_mode: *c}\n", None),
        ("model:\n  cache_mode: |\n    FP16\n", None),
        ("model:\n  cache_mode:\n    - FP16\n", None),
        ("model:\n  cache_mode: [FP16]\n", "model:\n  cache_mode: Q8\n"),
        ("model: Q4\n", None),
        ("model: [1]\n", None),
        ("a: 1\n...\n", "model:\n  cache_mode: Q8\na: 1\n...\n"),
        ('"model": {"cache_mode": "FP16"}', '"model": {"cache_mode": Q8}'),
        ("\ufeffmodel:\n  cache_mode: FP16 # ü\n", "\ufeffmodel:\n  cache_mode: Q8 # ü\n"),
        ("t: !x 1\nd: 2020-01-01\nmodel:\n  cache_mode:\n", "t: !x 1\nd: 2020-01-01\nmodel:\n  cache_mode: Q8\n"),
    ],
)  # fmt: skip
def test_unusual_yaml_is_changed_in_one_place_or_refused_with_its_line(text: str, new: str | None):
    if new is not None:
        assert changed(CACHE, "tabbyapi", text) == new
        return
    with pytest.raises(InputError, match=r"^Line \d+: ") as caught:
        changed(CACHE, "tabbyapi", text)
    assert caught.value.hint


def test_a_shared_section_is_not_changed_behind_the_users_back():
    with pytest.raises(InputError, match="Line 1") as caught:
        changed(CACHE, "tabbyapi", "model: &m {cache_mode: FP16}\ndraft: *m\n")
    assert "cache_mode: Q8" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        ("tabbyapi", "a: 1\nb: [\n", "Line 3: not valid YAML"),
        ("tabbyapi", "a: 1\n\tb: 2\n", "Line 2: not valid YAML"),
        ("tabbyapi", "a: 1\nb: 2\na: 3\n", "Line 3: the key 'a' is given twice"),
        ("tabbyapi", "a:\n  x: {k: 1, k: 2}\n", "Line 2: the key 'k' is given twice"),
        ("tabbyapi", "- a\n- b\n", "Line 1: the file is not a list of settings"),
        ("tabbyapi", "just words\n", "Line 1: the file is not a list of settings"),
        ("tabbyapi", "a: 1\n---\nb: 2\n", "Line 2: not valid YAML"),
        ("tabbyapi", "a: 1\nb: \x00\n", "not valid YAML"),
        ("tabbyapi", "a: 1\nb: " + "[" * 50_000, "Line 2: nested more than 100 levels deep"),
        ("config_json", "", "Line 1: not valid JSON"),
        ("config_json", '{\n "a": 1,\n}', "Line 3: not valid JSON"),
        ("config_json", '{\n "a": 1, // why\n}', "Line 2: not valid JSON"),
        ("config_json", '{\n "a": {\n "b": 1,\n "b": 2}}', "Line 4: the key 'b' is given twice"),
        ("config_json", '\n[{"rope_theta": 1}]', "Line 2: the file is not a JSON object"),
        ("config_json", "[" * 50_000, "nested too deeply"),
        ("requirements", "numpy\ntorch = 2\n", "Line 2: not a requirement"),
        ("requirements", "torch==2.8\nnumpy\nTorch==2.9\n", "Line 3: the package Torch is given twice"),
        ("requirements", "torch==2.8 \\\n  --hash=sha256:aa\n", "Line 1: torch is pinned with options"),
        ("requirements", "torch==2.8 --hash=sha256:aa\n", "Line 1: torch is pinned with options"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(target: str, text: str, said: str):
    patch = {"tabbyapi": CACHE, "config_json": THETA, "requirements": TORCH}[target]
    for form in (text, text.encode()):
        with pytest.raises(InputError) as caught:
            against(patch, target, form)
        assert said in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("target", EDITABLE)
def test_files_that_are_no_configuration(target: str):
    patch = Patch({
        "model.cache_mode": "Q8", "sampler.top_k": 1, "config.a": 1, "generation_config.eos_token_id": 1,
        "pins.torch": "==2.9.0",
    })  # fmt: skip
    with pytest.raises(InputError, match="Line 2: the file is not UTF-8"):
        changed(patch, target, b"a: 1\nb: \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        changed(patch, target, "a: \ud800")
    with pytest.raises(InputError, match="at most 1,000,000"):
        changed(patch, target, b"#" * (LARGEST + 1))


@pytest.mark.parametrize("target", ["python", "shell", "retrieval"])
def test_code_is_not_changed(target: str):
    with pytest.raises(InputError, match="cannot be made in a file of the kind"):
        against(CACHE, target, "x = 1\n")


def test_a_file_that_cannot_express_the_change():
    with pytest.raises(InputError, match=r"config\.json cannot express this change \(model\.cache_mode\)"):
        against(CACHE, "config_json", "{}")


def test_a_preset_keeps_what_it_holds():
    text = "top_p:\n  override: 0.9\n  force: false  # on purpose\nmine: {x: 1}\n"
    patch = Patch({"sampler.top_p": 0.5, "sampler.min_p": 0.1})
    assert changed(patch, "sampler_preset", text) == (
        "top_p:\n  override: 0.5\n  force: true  # on purpose\nmine: {x: 1}\n"
        "min_p:\n  override: 0.1\n  force: true\n"
    )


@pytest.mark.parametrize(
    ("changes", "text", "new"),
    [
        ({"rope_theta": 7}, '{"a": 1,\t"rope_theta" : 1.0e4 }\n', '{"a": 1,\t"rope_theta" : 7 }\n'),
        ({"rope_theta": 7}, '{\n\t"a": "\\u00fc"\n}', '{\n\t"a": "\\u00fc",\n\t"rope_theta": 7\n}'),
        ({"rope_theta": 7}, '{"a":1,"b":2}', '{"a":1,"b":2,"rope_theta":7}'),
        ({"rope_theta": 7}, "{}", '{\n  "rope_theta": 7\n}'),
        ({"a.b": "ü"}, '{"a": null}', '{"a": {"b": "\\u00fc"}}'),
        ({"a.b": 1}, '{\r\n    "a": {\r\n    }\r\n}', '{\r\n    "a": {\r\n        "b": 1\r\n    }\r\n}'),
        ({"a": {"x": [1]}}, '{\n "a": {"y": 2}\n}', '{\n "a": {\n  "x": [\n   1\n  ]\n }\n}'),
        ({"a": None}, '{\n "a": 1,\n "b": 2\n}', '{\n "b": 2\n}'),
        ({"b": None}, '{\n "a": 1,\n "b": 2\n}', '{\n "a": 1\n}'),
        ({"a": None}, '{ "a": {} }', "{ }"),
        ({"z": None, "y.z": None}, '{"a": 1}', '{"a": 1}'),
        ({"a": 1}, '{"a": 1, "n": NaN}', '{"a": 1, "n": NaN}'),
        ({"a": 2}, '\ufeff{"a": 1, "n": NaN, "i": 1e999}', '\ufeff{"a": 2, "n": NaN, "i": 1e999}'),
    ],
)
def test_a_model_configuration(changes: dict, text: str, new: str):
    patch = Patch({f"config.{key}": value for key, value in changes.items()})
    assert changed(patch, "config_json", text) == new


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("", "torch==2.9.0\n"),
        ("# c\nnumpy", "# c\nnumpy\ntorch==2.9.0\n"),
        ("torch\n", "torch==2.9.0\n"),
        ("  Torch[x, y] >=2,<3   # why\n", "  Torch[x, y]==2.9.0   # why\n"),
        ("torch == 2.9.0\n", "torch == 2.9.0\n"),
        (
            'torch==2.8 ; python_version<"3.12"\r\ntorch==2.7;python_version>="3.12"\r\n',
            'torch==2.9.0 ; python_version<"3.12"\r\ntorch==2.9.0;python_version>="3.12"\r\n',
        ),
        ("torch @ https://host/t-2.8.whl\n", "torch==2.9.0\n"),
        (
            "-r more.txt\n--extra-index-url https://host/torch\n./torch-2.8.whl\ngit+https://host/torch.git#egg=torch\n",
            "-r more.txt\n--extra-index-url https://host/torch\n./torch-2.8.whl\ngit+https://host/torch.git#egg=torch\n"
            "torch==2.9.0\n",
        ),
        (
            "numpy==1 \\\n  --hash=sha256:aa\ntorch-geometric==1\n",
            "numpy==1 \\\n  --hash=sha256:aa\ntorch-geometric==1\ntorch==2.9.0\n",
        ),
    ],
)
def test_requirements(text: str, new: str):
    assert changed(TORCH, "requirements", text) == new


def test_a_pinned_wheel_keeps_its_marker():
    patch = Patch({"pins.torch": "@ https://host/t-2.9.whl"})
    assert changed(patch, "requirements", 'torch==2.8;os_name=="nt"\n') == (
        'torch @ https://host/t-2.9.whl ;os_name=="nt"\n'
    )


@pytest.mark.parametrize(
    ("patch", "target", "text"),
    [
        (LENGTH, "tabbyapi", SERVER),
        (LENGTH, "tabbyapi", SERVER.replace("\n", "\r\n").rstrip()),
        (CACHE, "tabbyapi", ""),
        (THETA, "config_json", '{\n "a": "\u2028x"\n}'),
        (TORCH, "requirements", "a\nb\x0cc==1 # \x85\n".replace("b\x0cc", "c")),
    ],
)
def test_a_diff_can_be_applied(tmp_path: Path, patch: Patch, target: str, text: str):
    (tmp_path / "file").write_bytes(text.encode())
    diff = against(patch, target, text, "file")
    subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_bytes().decode() == changed(patch, target, text)
