"""What ``--meter`` may say, and what is said about what it may not."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UsageError
from edgekit.meters.address import COMMAND, SCPI, MeterAddress, parse_meter
from edgekit.meters.meter import Meter


def test_scpi_address_is_resource_and_query():
    found = parse_meter("scpi:TCPIP::192.168.1.50::INSTR?MEAS:POW?")
    assert found == MeterAddress(SCPI, "TCPIP::192.168.1.50::INSTR", "MEAS:POW?")
    assert (found.scope, found.asked_hz, found.timeout_s) == ("wall", 10.0, 1.0)


def test_query_may_hold_whatever_follows_the_first_question_mark():
    assert parse_meter("scpi:ASRL/dev/ttyUSB0::INSTR?MEAS? P,(@1)").query == "MEAS? P,(@1)"


def test_options_stand_before_the_colon():
    found = parse_meter(
        "scpi,scope=board,scale=0.001,rate=20,timeout=0.5,label=USB meter,visa=@sim:A::INSTR?P?"
    )
    assert found == MeterAddress(
        SCPI, "A::INSTR", "P?", "board", 0.001, 20.0, 0.5, "USB meter", "@sim"
    )


def test_command_keeps_its_words_colons_and_question_marks():
    found = parse_meter("command,rate=5:./read 'two words' --from=a:b?c")
    assert found.kind == COMMAND
    assert found.argv == ("./read", "two words", "--from=a:b?c")
    assert (found.asked_hz, found.timeout_s, found.query) == (5.0, 5.0, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no kind of meter"),
        ("scpi", "no kind of meter"),
        ("gpib:1", "'gpib' is no kind"),
        ("scpi:TCPIP::1.2.3.4::INSTR", "lacks the query"),
        ("scpi:TCPIP::1.2.3.4::INSTR? ", "lacks the query"),
        ("scpi:?MEAS?", "names no resource"),
        ("command: ", "names no command"),
        ("command:echo 'x", "no closing quotation"),
        ("command,scope=moon:x", "rail, board, wall"),
        ("command,scale=milli:x", "scale=milli"),
        ("command,scale=nan:x", "scale=nan"),
        ("command,rate=0:x", "rate=0"),
        ("command,timeout=1e9:x", "timeout=1e9"),
        ("command,colour=red:x", "scope=, scale=, rate=, timeout=, label="),
        ("command,visa=@py:x", "'visa=@py' is none of"),
        ("command,scope:x", "'scope' is none of"),
        ("command,label=:x", "label=: it is empty"),
    ],
)
def test_what_is_wrong_is_named_beside_what_is_right(text, why):
    with pytest.raises(UsageError) as caught:
        parse_meter(text)
    assert why in caught.value.message
    assert "scpi:TCPIP::192.168.1.50::INSTR?MEAS:POW?" in caught.value.hint


@given(st.sampled_from(["", "scpi", "scpi,", "command", "command,rate="]), st.text(max_size=20))
def test_any_text_is_an_address_or_a_usage_error(head, rest):
    try:
        found = parse_meter(head + rest)
    except UsageError:
        return
    assert found.target
    assert found.kind == SCPI or found.argv


def test_scpi_without_pyvisa_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(UsageError) as caught:
        Meter(parse_meter("scpi:TCPIP::192.168.1.50::INSTR?MEAS:POW?")).start()
    assert "edgekit[meters]" in caught.value.hint
