"""The guard over real sockets: what passes, what is added, and what happens when things break."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.guard.conftest import AS_JSON, SCHEMA, ask
from tests.guard.stub import Stub, pieces, running, whole
from wfgy_triage.guard.server import GuardOptions, build_guard

MARK = b": x-wfgy-guard: "


def test_what_is_not_checked_passes_byte_for_byte_with_its_headers(guarded, script):
    line = guarded()
    body = b'{ "model":"m",  "messages":[{"role":"user","content":"hi"}], "x": 1.50 }'
    answer = line.post(body, headers={"authorization": "Bearer sk-secret", "x-mine": "yes", "te": "trailers"})
    assert answer.content == script.sent[0]
    assert answer.headers["x-own"] == "1"
    assert "x-wfgy-guard" not in answer.headers
    (seen,) = script.seen
    assert seen["body"] == body
    assert seen["headers"]["authorization"] == "Bearer sk-secret"
    assert seen["headers"]["x-mine"] == "yes"
    assert "te" not in seen["headers"]
    assert seen["headers"]["host"] == line.direct.removeprefix("http://")
    (row,) = line.rows()
    assert (row.verdict, row.kind, row.completion_tokens) == ("unchecked", "none", 3)


def test_headers_are_what_the_server_behind_gives(guarded, script):
    line = guarded()
    through = line.post(ask())
    direct = httpx.post(f"{line.direct}/v1/chat/completions", json=ask(), trust_env=False)
    assert dict(through.headers) == dict(direct.headers)
    behind, alone = script.seen
    for seen in (behind, alone):
        seen["headers"].pop("host")
        seen["headers"].pop("connection", None)
    assert behind == alone


def test_the_key_and_the_prompt_are_stored_nowhere(guarded, settings, caplog):
    line = guarded()
    line.post(ask(response_format=AS_JSON), headers={"authorization": "Bearer sk-secret"})
    line.rows()
    stored = b"".join(p.read_bytes() for p in settings.home.glob("triage.db*"))
    assert b"sk-secret" not in stored
    assert b"secret question" not in stored
    assert "sk-secret" not in caplog.text


def test_models_and_query_pass(guarded, script):
    line = guarded()
    answer = httpx.get(f"{line.url}/v1/models?limit=3&x=%20y", trust_env=False)
    assert answer.json()["data"] == [{"id": "m"}]
    assert script.seen[0]["query"] == b"limit=3&x=%20y"


def test_other_paths_and_methods_are_not_passed_on(guarded, script):
    line = guarded()
    assert httpx.get(f"{line.url}/v1/secrets", trust_env=False).status_code == 404
    assert httpx.get(f"{line.url}/v1/chat/completions", trust_env=False).status_code == 405
    assert httpx.get(f"{line.url}/healthz", trust_env=False).text == "ok"
    assert script.seen == []


@pytest.mark.parametrize(
    ("text", "finish", "said"),
    [
        ('{"a": 1}', "stop", "ok"),
        ('{"a": "one"}', "stop", "failed;schema_mismatch"),
        ("Sure! {", "stop", "failed;malformed"),
        ('{"a": 1', "length", "failed;truncated"),
    ],
)
def test_an_answer_is_judged_and_goes_through(guarded, script, text, finish, said):
    script.answers, script.finish = [text], finish
    line = guarded()
    answer = line.post(ask(response_format=AS_JSON))
    assert answer.status_code == 200
    assert answer.content == script.sent[0]
    assert answer.headers["x-wfgy-guard"] == said
    (row,) = line.rows()
    assert row.verdict == said.split(";")[0]
    assert row.text == ""
    assert row.prompt_sha256
    assert row.first_byte_ms is not None


def test_tabbyapi_and_json_object_requests_are_checked_too(guarded, script):
    script.answers = ["[1]"]
    line = guarded()
    for asked in ({"json_schema": SCHEMA}, {"response_format": {"type": "json_object"}}):
        assert line.post(ask(**asked)).headers["x-wfgy-guard"] == "failed;schema_mismatch"
    prompt = {"model": "m", "prompt": "x", "json_schema": SCHEMA}
    answer = line.post(prompt, path="/v1/completions")
    assert answer.headers["x-wfgy-guard"] == "failed;schema_mismatch"
    assert [r.route for r in line.rows(3)] == ["completions", "chat", "chat"]


def test_a_stream_is_forwarded_as_it_comes_and_the_verdict_stands_behind_it(guarded, script):
    script.scenario, script.answers = "stream", ['{"a": "one"}']
    line = guarded()
    got: list[bytes] = []
    line.stream(got, ask(response_format=AS_JSON))
    sent = b"".join(script.sent)
    assert b"".join(got) == sent + MARK + b"failed;schema_mismatch\n\n"
    (row,) = line.rows()
    assert (row.streaming, row.failure, row.answer_chars) == (True, "schema_mismatch", 12)


def test_the_first_event_arrives_while_the_server_behind_is_still_busy(guarded, script):
    script.scenario = "hang"
    line = guarded()
    with httpx.stream(
        "POST", f"{line.url}/v1/chat/completions", json=ask(stream=True), timeout=20, trust_env=False
    ) as answer:
        # Kept: an iterator that is let go closes the connection, and the server behind sees its client leave.
        parts = answer.iter_raw()
        assert next(parts) == pieces("abc")[0]
        assert not script.left.is_set()
    assert script.left.wait(10), "the request behind goes on after the client has left"
    (row,) = line.rows()
    assert (row.verdict, row.failure) == ("unchecked", "client_left")


def test_a_client_that_leaves_before_the_answer_ends_the_request_behind(guarded, script):
    script.scenario = "silent"
    line = guarded()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{line.url}/v1/chat/completions", json=ask(), timeout=1, trust_env=False)
    assert script.left.wait(10)


def test_errors_of_the_server_behind_pass_as_they_are(guarded, script):
    script.scenario = "limited"
    line = guarded(mode="enforce")
    answer = line.post(ask(response_format=AS_JSON))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.content == script.sent[0]
    (row,) = line.rows()
    assert (row.verdict, row.failure, row.status) == ("unchecked", "upstream_429", 429)


def test_redirects_are_not_followed(guarded, script):
    script.scenario = "redirect"
    answer = guarded().post(ask())
    assert answer.status_code == 302
    assert len(script.seen) == 1


def test_a_packed_answer_passes_packed_and_is_judged(guarded, script):
    script.scenario, script.answers = "gzip", ['{"a": true}']
    line = guarded()
    got: list[bytes] = []
    answer = line.stream(got, ask(response_format=AS_JSON))
    assert b"".join(got) == b"".join(script.sent)
    assert answer.headers["x-wfgy-guard"] == "failed;schema_mismatch"


def test_a_stream_that_breaks_off_breaks_off_here_too(guarded, script):
    script.scenario = "half"
    line = guarded()
    got: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        line.stream(got, ask(response_format=AS_JSON))
    assert b"".join(got) == script.sent[0]
    (row,) = line.rows()
    assert (row.verdict, row.failure) == ("unchecked", "upstream_broke")


def test_a_malformed_stream_passes_and_is_not_judged(guarded, script):
    script.scenario = "bad_stream"
    line = guarded()
    answer = line.post(ask(response_format=AS_JSON, stream=True))
    assert answer.content == b"".join(script.sent) + MARK + b"unjudged;malformed_stream\n\n"


def test_a_server_behind_that_is_not_there_is_said(settings):
    app = build_guard(GuardOptions(upstream="http://127.0.0.1:9"), settings)
    with running(app) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=ask(), trust_env=False, timeout=20)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"


def test_a_server_behind_that_is_silent_is_said(settings, script):
    script.scenario = "silent"
    with running(Stub(script)) as direct:
        app = build_guard(GuardOptions(upstream=direct, timeout_s=0.3), settings)
        with running(app) as url:
            answer = httpx.post(f"{url}/v1/chat/completions", json=ask(), trust_env=False, timeout=20)
    assert answer.status_code == 504


def test_long_requests_are_refused_before_they_are_sent(guarded, script):
    line = guarded(max_body=1 << 20)
    answer = line.post(b"x" * (2 << 20))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert script.seen == []


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[" * 100_000, b'{"model": ' + b"1" * 9_000 + b"}", b"[1]"]
)
def test_a_body_that_cannot_be_read_is_the_other_servers_business(guarded, script, body):
    line = guarded()
    assert line.post(body).status_code == 200
    assert script.seen[0]["body"] == body


def test_enforce_refuses_a_failing_answer_and_leaves_streams_alone(guarded, script):
    script.answers = ['{"a": "one"}']
    line = guarded(mode="enforce")
    answer = line.post(ask(response_format=AS_JSON))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("schema_mismatch", "wfgy_guard_failed")
    assert "'one'" in error["message"]
    script.scenario = "stream"
    assert line.post(ask(response_format=AS_JSON, stream=True)).status_code == 200


def test_enforce_asks_once_more_where_the_policy_says_so(guarded, script, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("policy: p\nrules: [{id: r, on_failure: retry, mode: enforce}]\n")
    script.answers = ["nope", '{"a": 2}', "nope"]
    line = guarded(policy=policy)
    assert line.post(ask(response_format=AS_JSON)).content == whole('{"a": 2}')
    assert line.post(ask(response_format=AS_JSON)).status_code == 422
    assert len(script.seen) == 4
    assert [r.verdict for r in line.rows(4)] == ["failed", "failed", "ok", "failed"]


def test_snippets_are_taken_out_of_the_request_and_citations_checked(guarded, script):
    script.answers = ["Cats sleep long [S1].", "Dogs run [S9]."]
    line = guarded()
    asked = ask(
        wfgy_snippets=[{"id": "S1", "text": "Cats sleep for most of the day.", "target": True}], top_p=0.5
    )
    assert line.post(asked).headers["x-wfgy-guard"] == "ok"
    assert line.post(asked).headers["x-wfgy-guard"] == "failed;cites_unknown_passage"
    assert json.loads(script.seen[0]["body"]) == ask(top_p=0.5)
    wrong, right = line.rows(2)
    assert (right.citation_ok, right.coverage, wrong.citation_ok) == (True, 1.0, False)
    assert right.distance is None
    assert wrong.reason == "It cites a passage that was not given."


def test_malformed_snippets_are_said(guarded, script):
    answer = guarded().post(ask(wfgy_snippets=[{"id": "no spaces allowed", "text": ""}]))
    assert answer.status_code == 400
    assert "wfgy_snippets" in answer.json()["error"]["message"]
    assert script.seen == []


def test_bombs_pass_and_are_bounded(guarded, script):
    script.answers = ["[" * 200_000]
    line = guarded()
    assert line.post(ask(response_format=AS_JSON)).headers["x-wfgy-guard"] == "unjudged;too_long"
    script.answers = ['{"a": ' * 2_000 + "1" + "}" * 2_000]
    assert line.post(ask(response_format=AS_JSON)).headers["x-wfgy-guard"] == "failed;malformed"
    script.answers = ["x" * (10 << 20)]
    answer = line.post(ask(response_format=AS_JSON))
    assert answer.content == script.sent[-1]
    assert answer.headers["x-wfgy-guard"] == "unjudged;too_long"
    reference = {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://127.0.0.1:9/x"}}}
    script.answers = ["{}"]
    assert line.post(ask(response_format=reference)).headers["x-wfgy-guard"] == "unjudged;schema_refused"
