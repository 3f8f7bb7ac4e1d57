"""What the page is told: known keys, checked values, a minute of seconds."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_camera import SimulatedCamera

from edgekit.camera.page.messages import Message, message_of
from edgekit.camera.page.state import PageState
from edgekit.camera.page.tabs import Tab, packed
from edgekit.core.camera import STAGES

_ODD = st.one_of(
    st.sampled_from([None, True, 0, -1, 10**400, 2.5, float("nan"), float("-inf"), "", "a\n\nb"]),
    st.text(max_size=5),
)
_ROWS = st.lists(_ODD | st.lists(_ODD, max_size=7), max_size=3)
_TABLE = st.dictionaries(st.sampled_from([*STAGES, "x\ny", ""]), _ODD, max_size=3)
_ANY = _ODD | _ROWS | _TABLE | st.dictionaries(st.sampled_from(["decode", "ms"]), _TABLE)
_KEYS = st.sampled_from(
    (
        *("at_ns", "captured", "stages", "dropped", "away", "fps", "latency_ms", "bundle"),
        *("format", "data", "width", "height", "number", "answers"),
        *("watts", "temperature_c", "why"),
    )
)
_CAMERA = SimulatedCamera(height=32, width=32)
_EVENTS = {"second": _CAMERA.second(), "preview": _CAMERA.preview()}


def _state():
    return PageState({"title": "t", "classes": [], "bundles": [], "emulated": False})


def _fed(state, event):
    return state.take(message_of(event))


@settings(deadline=None)
@given(st.sampled_from(["second", "preview", "power", "ended", "x", 3]), st.data())
def test_whatever_comes_makes_json_or_nothing(phase, data):
    event = {**data.draw(st.dictionaries(_KEYS, _ANY, max_size=6)), "phase": phase}
    message = message_of(event)
    if message is not None:
        state = _state()
        for told in state.take(message):
            lines = packed(told.kind, told.values).decode().split("\n")
            assert [line.partition(":")[0] for line in lines] == ["event", "data", "", ""]
        json.dumps(state.hello(), allow_nan=False)


@settings(deadline=None)
@given(st.sampled_from(["second", "preview"]), st.data())
def test_event_of_a_run_with_any_value_replaced_makes_json(phase, data):
    event = dict(_EVENTS[phase])
    event[data.draw(st.sampled_from(sorted(event)))] = data.draw(_ANY)
    message = message_of(event)
    assert message is None or packed(message.kind, message.values)


def test_second_names_stages_in_their_order_and_drops_by_cause():
    camera = SimulatedCamera(height=32, width=32)
    second = camera.second(dropped={"sink": {"stopped": 1}, "decode": {"latest": 9, "corrupt": 2}})
    shown = message_of(second).values
    assert [stage["name"] for stage in shown["stages"]] == list(STAGES)
    assert [tuple(row.values()) for row in shown["dropped"]] == [
        ("decode", "latest", 9),
        ("decode", "corrupt", 2),
        ("sink", "stopped", 1),
    ]


def test_numbers_that_are_none_are_unknown_not_zero():
    event = SimulatedCamera(height=32, width=32).second(
        fps=float("nan"), latency_ms=None, lost="3", bundle=True, delivered=10**400
    )
    shown = message_of(event).values
    unknown = [shown[key] for key in ("fps_out", "latency_ms", "lost", "bundle", "delivered")]
    assert unknown == [None] * 5


@pytest.mark.parametrize(
    "change",
    [{"format": "svg+xml"}, {"data": "<svg>"}, {"data": ""}, {"data": 3}, {"width": None}],
)
def test_preview_that_is_no_picture_is_passed_over(change):
    preview = SimulatedCamera(height=32, width=32).preview()
    assert message_of(preview) is not None
    assert message_of({**preview, **change}) is None


def test_preview_tells_boxes_from_labels():
    preview = SimulatedCamera(height=32, width=32).preview()
    answers = [[1, 2, 3, 4, 0.5, 2], [3, 0.25], ["text", 0.9], [1, 2], [1], "x", [1, 2, 3, 4, 5]]
    shown = message_of({**preview, "answers": answers}).values
    assert shown["boxes"] == [[1, 2, 3, 4, 0.5, 2]]
    assert shown["labels"] == [[3, 0.25], ["text", 0.9], [1, 2]]


def test_frames_that_came_are_counted_between_two_seconds():
    state, camera = _state(), SimulatedCamera(height=32, width=32)
    first = camera.second()
    rates = [_fed(state, first)[-1].values["fps_in"], _fed(state, camera.second())[-1]]
    assert rates[0] is None
    assert rates[1].values["fps_in"] == 30
    slower = camera.second(captured=80, at_ns=camera.at_ns + 500_000_000)
    assert _fed(state, slower)[-1].values["fps_in"] == 40
    again = camera.second(captured=3)  # the run began anew
    assert _fed(state, again)[-1].values["fps_in"] is None


def test_state_follows_what_happens():
    state, camera = _state(), SimulatedCamera(height=32, width=32)
    assert state.hello()["state"] == "waiting"
    assert [told.kind for told in _fed(state, camera.second())] == ["state", "second"]
    _fed(state, {"phase": "gone", "why": "no route to host"})
    assert (state.hello()["state"], state.hello()["why"]) == ("gone", "no route to host")
    _fed(state, camera.second())
    assert state.hello()["state"] == "running"
    _fed(state, {"phase": "ended", "why": "30 s are over"})
    _fed(state, camera.second())  # one that was still on its way
    assert (state.hello()["state"], state.has_ended) == ("ended", True)


def test_hello_holds_a_minute_and_the_last_picture():
    state, camera = _state(), SimulatedCamera(height=32, width=32)
    for number in range(200):
        _fed(state, camera.second())
        _fed(state, {**_EVENTS["preview"], "number": number})
    hello = state.hello()
    assert len(hello["seconds"]) == 61
    assert hello["seconds"][-1]["at_s"] - hello["seconds"][0]["at_s"] == 60
    assert hello["preview"]["number"] == 199
    assert hello["power"] is None


def test_tab_keeps_all_seconds_and_only_the_last_picture():
    tab = Tab({"title": "t"})
    for number in range(500):
        for kind in ("second", "preview"):
            tab.put(Message(kind, {}), packed(kind, {"number": number}))
    told = tab.next(0).decode()
    assert told.startswith('event: hello\ndata: {"title": "t"}\n\n')
    assert told.count("event: second") == 60
    assert told.count("event: preview") == 1
    assert told.endswith('event: preview\ndata: {"number": 499}\n\n')
    assert tab.next(0) == b""


def test_tab_says_what_waits_before_it_ends():
    tab = Tab({})
    tab.put(Message("second", {}), packed("second", {}))
    tab.end()
    assert b"event: second" in tab.next(0)
    assert tab.next(0) is None
