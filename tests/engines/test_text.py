"""Text from a stream of byte-level tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.engines.text import TextStream, first_stop


def decode(ids):
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40))
def test_every_text_comes_out_whole(text):
    stream = TextStream(decode)
    for token in text.encode():
        before = stream.text
        stream.push(token)
        assert stream.text.startswith(before)
    complete = text.rstrip("\ufffd")
    assert stream.text == complete or stream.text == text


@given(st.text(min_size=1, max_size=20).filter(lambda t: "\ufffd" not in t))
def test_half_a_character_is_held_back(text):
    stream = TextStream(decode)
    for token in text.encode()[:-1]:
        stream.push(token)
    assert "\ufffd" not in stream.text
    assert text.startswith(stream.text)


def test_a_piece_that_decodes_differently_at_the_start_keeps_its_space():
    """As SentencePiece: the first piece loses its leading space, later ones do not."""
    pieces = {0: " one", 1: " two", 2: " three"}
    stream = TextStream(lambda ids: "".join(pieces[i] for i in ids).removeprefix(" "))
    for token in (0, 1, 2):
        stream.push(token)
    assert stream.text == "one two three"


def test_the_earliest_stop_string_counts():
    assert first_stop("abcd", ["d", "bc"]) == 1
    assert first_stop("abcd", ["x", ""]) == -1
    assert first_stop("abcd", []) == -1
