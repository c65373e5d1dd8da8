"""Settings of an installation: what is read, and what is refused in words that name the variable."""

from __future__ import annotations

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.hosting import Hosting, load_hosting

TOKEN = "0123456789abcdef0123"  # noqa: S105 - of no service


def test_without_settings_nothing_is_served_deleted_or_moved():
    assert load_hosting({}) == Hosting()
    assert load_hosting({"WFGY_TRIAGE_ROOT_PATH": "/"}) == Hosting()


@pytest.mark.parametrize(
    ("text", "path", "url"),
    [
        ("/triage", "/triage", ""),
        ("/tools/triage/", "/tools/triage", ""),
        ("https://team.example/triage/", "/triage", "https://team.example/triage"),
        ("http://team.example:8443", "", "http://team.example:8443"),
    ],
)
def test_an_address_is_a_path_or_a_whole_one(text, path, url):
    found = load_hosting({"WFGY_TRIAGE_ROOT_PATH": text})
    assert (found.root_path, found.public_url) == (path, url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("WFGY_TRIAGE_ROOT_PATH", v)
            for v in (
                "triage",
                "//evil.example",
                "/a/../b",
                "/a b",
                "/a?b",
                "ftp://x/y",
                "https://u:p@x/",
                "/<b>",
            )
        ),
        *(("WFGY_TRIAGE_KEEP_DAYS", v) for v in ("0", "-1", "a week", "1.5", "٣", "99999")),
        *(
            ("WFGY_TRIAGE_LANES", v)
            for v in ("gpu", "cuda:", "cuda:01", "cpu cuda", "cpu,,cuda", "cuda:0,cuda:0")
        ),
        ("WFGY_TRIAGE_METRICS", "yes"),
        ("WFGY_TRIAGE_METRICS_TOKEN", "short"),
        ("WFGY_TRIAGE_LOG", "xml"),
        ("WFGY_TRIAGE_LOG_LEVEL", "loud"),
        ("WFGY_TRIAGE_LOG_FILES", "no"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(InputError) as caught:
        load_hosting({name: value})
    assert name in caught.value.hint
    if name.endswith("TOKEN"):
        assert value not in caught.value.message


def test_a_token_switches_the_metrics_on_and_days_are_read():
    found = load_hosting({"WFGY_TRIAGE_METRICS_TOKEN": TOKEN, "WFGY_TRIAGE_KEEP_DAYS": "90"})
    assert (found.metrics, found.metrics_token, found.keep_days) == (True, TOKEN, 90)
    assert load_hosting({"WFGY_TRIAGE_METRICS": "1"}) == Hosting(metrics=True)


def test_lanes_are_devices_in_the_order_given():
    assert load_hosting({"WFGY_TRIAGE_LANES": " cuda:10, cuda,cpu "}).lanes == ("cuda:10", "cuda", "cpu")
    assert load_hosting({"WFGY_TRIAGE_LANES": " "}).lanes == ()
