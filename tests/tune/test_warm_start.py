"""On a board that is new, what was good on similar ones is measured first, as trials of its own."""

from dataclasses import replace

import pytest
from tune.test_tuning_session import Bench, session, trials
from tuning_records import A55, SCOPE, make_record

from edgekit.core.events import Note
from edgekit.tune.records import open_records
from edgekit.tune.session import Limits
from edgekit.tune.warm import suggestions

CLOCKS = replace(SCOPE, fingerprint=replace(A55, target="rk3568", clocks_mhz=(2000,)))
CORE = replace(SCOPE, fingerprint=replace(A55, target="s905", features=()))
OTHER_TVM = replace(CLOCKS, tvm="0.1")
KNOWN = {"hash-conv": set(), "hash-pool": set()}


@pytest.fixture
def records(tmp_path):
    with open_records(tmp_path / "records.sqlite") as opened:
        yield opened


def keep(records, scope, *traces, failure=None):
    """Keep trials of a scope; each costs more than the one before."""
    for number, trace in enumerate(traces):
        task = trace.split()[0].removeprefix("hash-").removeprefix("other-")
        records.append(make_record(task, 0.1 + number, scope=scope, trace=trace, failure=failure))


def test_best_few_of_the_most_similar_come_first(records):
    keep(records, CORE, "hash-conv 20", "hash-conv 21")
    keep(records, CLOCKS, "hash-conv 12", "hash-conv 10", "hash-conv 11")
    keep(records, CLOCKS, "hash-conv 13", failure="timeout")
    keep(records, OTHER_TVM, "hash-pool 1")
    keep(records, SCOPE, "hash-conv 5")
    found = suggestions(records, SCOPE, KNOWN)
    first = ("hash-conv 12", "hash-conv 10", "hash-conv 11", "hash-conv 20")
    assert found.traces == {"hash-conv": first}
    assert found.sources == {"rk3568 (other clocks)": 3, "s905 (same core)": 1}


def test_what_was_tried_here_is_not_suggested(records):
    keep(records, CLOCKS, *(f"hash-conv {number}" for number in range(6)))
    found = suggestions(records, SCOPE, {"hash-conv": {"hash-conv 0"}})
    assert found.traces == {"hash-conv": tuple(f"hash-conv {number}" for number in range(1, 4))}


def test_no_similar_records_are_no_suggestions(records):
    keep(records, SCOPE, "hash-conv 5")
    assert not suggestions(records, SCOPE, KNOWN).traces


def test_session_measures_first_what_was_good_elsewhere_and_says_so(tmp_path, records):
    keep(records, CLOCKS, "hash-conv 30", "other-conv 9", "hash-conv 31")
    keep(records, CORE, "hash-pool 4")
    bench, events = Bench(), []
    with session(tmp_path, bench, events.append) as ready:
        ready.run("Tune", Limits(trials=16))
    by_task = {key: [each for each in bench.traces if each.startswith(key)] for key in KNOWN}
    assert by_task["hash-conv"][:3] == ["hash-conv 30", "hash-conv 31", "hash-conv 0"]
    assert by_task["hash-pool"][0] == "hash-pool 4"
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.text == (
        "3 schedules of similar boards are measured first, of rk3568 (other clocks): 3, "
        "s905 (same core): 1; 1 do not apply here"
    )
    kept = {trial.trace: trial for trial in trials(tmp_path)}
    assert kept["hash-conv 30"].scope == SCOPE
    assert kept["hash-conv 30"].device == "bench"

    again, events = Bench(), []
    with session(tmp_path, again, events.append) as ready:
        ready.run("Tune", Limits(trials=8))
    assert not set(again.traces) & set(bench.traces)
