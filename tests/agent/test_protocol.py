"""Framing, whatever pieces the stream comes in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import protocol
from device_agent.protocol import (
    DATA,
    JSON,
    MAGIC,
    READY,
    FrameReader,
    ProtocolError,
    StreamEndedError,
    VerbError,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
frames = st.lists(
    st.tuples(st.just(JSON), st.dictionaries(st.text(), json_values, max_size=3))
    | st.tuples(st.just(DATA), st.binary(max_size=300)),
    max_size=8,
)


def encode(kind, content) -> bytes:
    return protocol.json_frame(content) if kind == JSON else protocol.data_frame(content)


def reader_of(data: bytes, cuts=()) -> FrameReader:
    """A stream that gives no more at a time than lies before the next cut."""
    edges = sorted({cut for cut in cuts if 0 < cut < len(data)} | {len(data)})
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        assert size > 0
        edge = next((edge for edge in edges if edge > at), at)
        piece = data[at : min(at + size, edge)]
        at += len(piece)
        return piece

    return FrameReader(read)


def cuts_of(draw_max: int):
    return st.lists(st.integers(0, draw_max), max_size=30)


@given(frames, cuts_of(3000), st.binary(max_size=200))
def test_frames_arrive_alike_however_the_stream_is_cut(sent, cuts, banner):
    data = banner.replace(MAGIC, b"") + protocol.greeting(READY)
    data += b"".join(encode(*frame) for frame in sent)
    reader = reader_of(data, cuts)
    assert reader.greeting() == READY
    for kind, content in sent:
        got, payload = reader.frame()
        assert got == kind
        assert (protocol.message_of(payload) if kind == JSON else payload) == content
    assert reader.frame() is None


@given(frames, cuts_of(3000))
def test_fed_bytes_are_used_before_those_of_the_stream(sent, cuts):
    data = b"".join(encode(*frame) for frame in sent)
    reader = reader_of(b"")
    at, got = 0, []
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        reader.feed(data[at:cut])
        at = cut
        while reader.has_frame():
            got.append(reader.frame())
    assert got == [protocol.FrameReader(_once(encode(*frame))).frame() for frame in sent]


def _once(data: bytes):
    stream = bytearray(data)

    def read(size: int) -> bytes:
        piece = bytes(stream[:size])
        del stream[:size]
        return piece

    return read


@given(frames.filter(bool), st.data())
def test_truncated_stream_ends_in_an_error_never_in_a_wrong_frame(sent, data):
    whole = [encode(*frame) for frame in sent]
    stream = b"".join(whole)
    length = data.draw(st.integers(0, len(stream) - 1))
    reader = reader_of(stream[:length])
    complete = 0
    try:
        while reader.frame() is not None:
            complete += 1
        ended_between = True
    except StreamEndedError:
        ended_between = False
    edges = [0]
    for frame in whole:
        edges.append(edges[-1] + len(frame))
    assert complete == sum(edge <= length for edge in edges[1:])
    assert ended_between == (length in edges)


@given(st.binary(max_size=400))
def test_garbage_ends_in_an_error_or_in_frames_of_known_kinds(garbage):
    reader = reader_of(garbage)
    try:
        while (frame := reader.frame()) is not None:
            assert frame[0] in {JSON, DATA}
    except ProtocolError:
        pass


@given(st.binary(max_size=300))
def test_stream_without_greeting_tells_what_came(garbage):
    with pytest.raises(StreamEndedError) as caught:
        reader_of(garbage.replace(MAGIC, b"")).greeting()
    assert caught.value.args[1] == garbage.replace(MAGIC, b"")


def test_greeting_after_its_own_beginning_is_found():
    assert reader_of(MAGIC[:-1] + MAGIC[:3] + MAGIC + b"agent 1\n").greeting() == "agent 1"


def test_greeting_that_never_comes_is_given_up():
    with pytest.raises(ProtocolError, match="no greeting"):
        FrameReader(lambda size: b"x" * size).greeting()


def test_greeting_that_does_not_end_is_given_up():
    with pytest.raises(ProtocolError, match="does not end"):
        reader_of(MAGIC + b"x" * 5000).greeting()


@pytest.mark.parametrize("kind", [JSON, DATA])
def test_oversized_frame_is_refused_by_its_header(kind):
    head = bytes([kind]) + b"\x7f\xff\xff\xff"
    with pytest.raises(ProtocolError, match="over the limit"):
        reader_of(head + b"x").frame()
    with pytest.raises(ProtocolError, match="over the limit"):
        protocol.header(kind, 0x7FFFFFFF)


def test_unknown_kind_of_frame_is_refused():
    with pytest.raises(ProtocolError, match="0x00"):
        reader_of(bytes(5)).frame()


@pytest.mark.parametrize("payload", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_message_that_is_no_object_is_refused(payload):
    with pytest.raises(ProtocolError):
        protocol.message_of(payload)


def test_error_code_outside_the_table_cannot_be_made():
    with pytest.raises(ValueError, match="no such error code"):
        VerbError("oops", "")


def test_messages_are_plain_json():
    frame = protocol.json_frame({"id": 1, "verb": "hello", "args": {"ü": None}})
    assert frame[0] == ord("J")
    assert json.loads(frame[5:]) == {"id": 1, "verb": "hello", "args": {"ü": None}}
