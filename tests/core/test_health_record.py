"""A record of health is taken from the agent's answer, or refused with its fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import AgentError
from edgekit.core.health import HealthSnapshot

KEYS = [
    "monotonic_ns", "cpus_online", "clusters", "zones", "cooling", "throttle", "load", "memory",
    "unread", "policy", "type", "trips", "temperature_c", "state", "device", "busy_s", "zone",
]  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=12,
)


def outcome(value):
    """Return the record, or the code of the agent's error."""
    try:
        return HealthSnapshot.from_json(value)
    except AgentError as error:
        return error.code


@given(values)
def test_any_json_is_a_record_or_an_agent_error(value):
    found = outcome(value)
    assert found == "protocol" or found.monotonic_ns >= 0


@given(st.dictionaries(st.sampled_from(KEYS[1:]), values))
def test_any_table_with_a_time_is_a_record_or_an_agent_error(table):
    found = outcome({**table, "monotonic_ns": 1})
    assert found == "protocol" or found.monotonic_ns == 1


def test_names_of_a_newer_agent_are_passed_over():
    record = HealthSnapshot.from_json({"monotonic_ns": 5, "humidity": {"percent": 40}})
    assert record == HealthSnapshot(5)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({}, "monotonic_ns"),
        ({"monotonic_ns": -1}, "monotonic_ns"),
        ({"monotonic_ns": True}, "monotonic_ns"),
        ({"monotonic_ns": 1, "clusters": [{}]}, "policy"),
        ({"monotonic_ns": 1, "clusters": [{"policy": 0, "current_khz": 0}]}, "current_khz"),
        ({"monotonic_ns": 1, "zones": [{"zone": 0}]}, "temperature_c"),
        ({"monotonic_ns": 1, "load": {"busy_s": float("nan")}}, "busy_s"),
        ({"monotonic_ns": 1, "load": {"busy_s": -1.0}}, "busy_s"),
        ({"monotonic_ns": 1, "load": {"busy_s": 10**400}}, "busy_s"),
        ({"monotonic_ns": 1, "memory": []}, "memory"),
        ({"monotonic_ns": 1, "throttle": {"over_current_alarms": [3]}}, "a name"),
    ],
)
def test_fault_is_named(table, named):
    with pytest.raises(AgentError, match=named):
        HealthSnapshot.from_json(table)
