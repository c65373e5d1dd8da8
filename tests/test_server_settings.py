"""The server block of a pair: what it takes, and what is refused before anything is sent anywhere."""

from __future__ import annotations

import pytest

from wfgy_triage.engine_settings import engine_settings
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import NO_FOLDER, Pair, get_pair, load_pairs, register_pairs
from wfgy_triage.server_settings import ServerSettings, refused_host

URL = "http://127.0.0.1:5000/v1"


def read(**block):
    return engine_settings({"server": {"url": URL, **block}}, "my-pair").server


def test_an_address_alone_is_enough():
    assert read() == ServerSettings(URL)
    assert read(url="https://tabby.example/v1/") == ServerSettings("https://tabby.example/v1")


def test_everything_can_be_set():
    block = {
        "model": "mistral", "key": "TABBY_API_KEY", "endpoint": "chat", "schema": "response_format",
        "logprobs": False, "concurrency": 1, "retries": 0, "timeout": 2.5, "longest": 30, "context": 2048,
    }  # fmt: skip
    assert read(**block) == ServerSettings(URL, **block)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"url": ""}, "no `url:`"),
        ({"url": 7}, "url that is no text"),
        ({"url": "ftp://host/v1"}, "no http"),
        ({"url": "file:///etc/passwd"}, "no http"),
        ({"url": "host:5000/v1"}, "no http"),
        ({"url": "http://"}, "no http"),
        ({"url": "http://host:port/v1"}, "cannot be read"),
        ({"url": "http://ho st/v1"}, "no http"),
        ({"url": "http://host/v1?key=x"}, "question mark"),
        ({"url": "http://169.254.169.254/v1"}, "link-local"),
        ({"url": "http://[fe80::1]/v1"}, "link-local"),
        ({"url": "http://[::ffff:169.254.169.254]/v1"}, "link-local"),
        ({"url": "http://metadata.google.internal./v1"}, "link-local"),
        ({"concurrency": 0}, "concurrency: 0"),
        ({"concurrency": True}, "concurrency: True"),
        ({"timeout": float("nan")}, "timeout: nan"),
        ({"retries": 2.5}, "whole number"),
        ({"endpoint": "embeddings"}, "endpoint"),
        ({"token_ids": "yes"}, "true or false"),
        ({"token_ids": True, "endpoint": "chat"}, "messages only"),
        ({"api_key": "x"}, "unknown settings: api_key"),
    ],
)
def test_what_is_refused_is_named(block, words):
    with pytest.raises(InputError, match=words) as caught:
        read(**block)
    assert "my-pair" in caught.value.message


@pytest.mark.parametrize("block", [{"key": "sk-12345-secret"}, {"url": "http://me:sk-12345-secret@host/v1"}])
def test_a_secret_written_into_the_file_is_refused_and_not_repeated(block):
    with pytest.raises(InputError) as caught:
        read(**block)
    assert "sk-12345-secret" not in str(caught.value)


def test_a_link_local_address_can_be_meant():
    assert read(url="http://169.254.7.7:5000/v1", link_local=True).link_local


@pytest.mark.parametrize(
    ("host", "refused"),
    [("169.254.0.1", True), ("100.100.100.200", True), ("fe80::1%eth0", True), ("METADATA.google.internal", True),
     ("127.0.0.1", False), ("10.0.0.7", False), ("::1", False), ("tabby", False)],
)  # fmt: skip
def test_hosts_where_machines_keep_their_credentials(host, refused):
    assert refused_host(host) is refused


@pytest.mark.parametrize("block", [None, "http://host/v1", ["url"]])
def test_a_block_of_another_form_is_refused(block):
    with pytest.raises(InputError, match="no mapping"):
        engine_settings({"server": block}, "p")


def test_a_side_is_either_on_a_server_or_loaded_here():
    with pytest.raises(InputError, match="server and backend"):
        engine_settings({"server": {"url": URL}, "backend": "reference"}, "p")
    both = engine_settings({"server": {"url": URL}, "baseline": "exllamav2", "device": "cuda"}, "p")
    assert both.server_of("exl2") is not None
    assert both.server_of("fp16") is None


def test_a_pair_with_a_server_needs_no_exl2_folder_and_survives_the_demo(settings):
    (settings.home / "m").mkdir(parents=True)
    (settings.home / "m" / "config.json").write_text("{}")
    settings.pairs_file.write_text(
        "pairs:\n  - id: tabby\n    fp16: m\n    engine:\n      server:\n        url: http://127.0.0.1:5000/v1\n"
        "        key: TABBY_API_KEY\n"
    )
    pair = get_pair(settings, "tabby")
    assert (pair.exl2, pair.served, pair.folders_known) == (NO_FOLDER, {"exl2"}, False)
    register_pairs(settings, [Pair("other", "Other", settings.home / "m", settings.home / "n")])
    assert load_pairs(settings)["tabby"] == pair
    assert "exl2: no-folder" not in settings.pairs_file.read_text()


@pytest.mark.parametrize(
    "text",
    ["{id: a, fp16: m}", "{id: a, engine: {server: {url: x}}}", "{id: a, fp16: m, exl2: n, engine: x}"],
)
def test_what_a_pair_lacks_is_named(settings, text):
    settings.home.mkdir()
    settings.pairs_file.write_text(f"pairs:\n  - {text}\n")
    with pytest.raises(InputError, match=r"lacks|engine block"):
        load_pairs(settings)
