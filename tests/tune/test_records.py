"""What is appended is there, ranked within its own scope and nowhere else."""

import math
import multiprocessing
import sqlite3
import threading
from dataclasses import replace

import pytest
from tuning_records import A55, SCOPE, make_record, make_workload

from edgekit.core.errors import UsageError
from edgekit.tune.record import Fingerprint, Record
from edgekit.tune.records import open_records

OTHER_COST = replace(SCOPE, cost="instructions")
OTHER_TVM = replace(SCOPE, tvm="0.28.0")
OTHER_PIPELINE = replace(SCOPE, pipeline="2")


def scope_of(**changes):
    return replace(SCOPE, fingerprint=replace(A55, **changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "records.sqlite"


@pytest.fixture
def records(path):
    with open_records(path) as opened:
        yield opened


def test_trial_comes_back_as_it_went(records):
    kept = make_record(costs=(1, 0.1 + 0.2, 5e-324), detail="läuft\n\0", flops=10, trace="[]")
    failed = make_record(failure="timeout", detail="10 s")
    assert records.append(kept)
    assert records.append(failed)
    assert tuple(records.trials(SCOPE)) == (kept, failed)
    assert tuple(records.trials(SCOPE, "hash-other")) == ()


def test_trial_is_there_when_opened_again(path):
    record = make_record()
    with open_records(path) as records:
        records.append(record)
    with open_records(path) as records:
        assert records.best(SCOPE, record.structural_hash) == record


def test_equal_trial_is_kept_once(records):
    record = make_record()
    assert records.append(record)
    assert not records.append(record)
    assert records.append(replace(record, measured_at_s=record.measured_at_s + 1))
    assert len(tuple(records.trials(SCOPE))) == 2


def test_more_trials_than_a_batch_come_in_their_order(records):
    made = [make_record(trace_bytes=9) for _ in range(450)]
    for record in made:
        records.append(record)
    assert list(records.trials(SCOPE)) == made


def test_best_is_of_least_median_cost(records):
    spiky = make_record(costs=(1.0, 1.0, 90.0))
    steady = make_record(costs=(2.0, 2.0, 2.0))
    lucky = make_record(costs=(0.1, 3.0, 3.0))
    for record in (steady, lucky, spiky, make_record(failure="run_error")):
        records.append(record)
    assert records.best(SCOPE, "hash-conv") == spiky
    assert records.top(SCOPE, "hash-conv", 9) == (spiky, steady, lucky)
    assert records.top(SCOPE, "hash-conv", 2) == (spiky, steady)


def test_top_names_a_trace_once(records):
    first = make_record(cost=2.0)
    again = replace(first, costs=(1.0,), device="bench-2")
    records.append(first)
    records.append(again)
    assert records.top(SCOPE, "hash-conv", 5) == (again,)


@pytest.mark.parametrize(
    "other",
    [OTHER_COST, OTHER_TVM, OTHER_PIPELINE, scope_of(clocks_mhz=(1600,)), scope_of(threads=1)],
)
def test_scopes_never_meet_in_one_ranking(records, other):
    mine = make_record(cost=9.0)
    records.append(mine)
    records.append(make_record(cost=1.0, scope=other))
    assert records.best(SCOPE, "hash-conv") == mine
    assert records.best(other, "hash-conv").cost == 1.0
    assert records.missing(other, ["hash-conv", "hash-pool"]) == ("hash-pool",)


def test_missing_are_those_without_a_success_in_their_order(records):
    records.append(make_record("a", failure="build_error"))
    records.append(make_record("b"))
    assert records.missing(SCOPE, ["hash-c", "hash-b", "hash-a", "hash-c"]) == ("hash-c", "hash-a")


def test_order_of_features_says_nothing(records):
    records.append(make_record())
    turned = scope_of(features=("+fp16fml", "+dotprod", "+dotprod"))
    assert records.best(turned, "hash-conv") is not None


def test_summaries_count_trials_failures_and_tasks(records):
    records.append(make_record("a", 3.0))
    records.append(make_record("b", failure="device_lost"))
    records.append(make_record("a", 2.0))
    last = replace(make_record("a", failure="timeout"), task="renamed")
    records.append(last)
    records.append(make_record(scope=OTHER_COST))
    first, second = records.scopes()
    assert (first.scope, first.tasks, first.trials, first.failures) == (SCOPE, 2, 4, 2)
    assert first.last_s == last.measured_at_s
    assert (second.scope, second.trials) == (OTHER_COST, 1)
    a, b = records.tasks(SCOPE)
    assert (a.task, a.trials, a.failures, a.best, a.flops) == ("renamed", 3, 1, 2.0, 2e6)
    assert (b.structural_hash, b.trials, b.best) == ("hash-b", 1, math.inf)


def test_other_versions_are_counted_and_nothing_else_is(records):
    for scope in (SCOPE, OTHER_TVM, OTHER_TVM, OTHER_PIPELINE, OTHER_COST, scope_of(threads=1)):
        records.append(make_record(scope=scope))
    found = records.other_versions(SCOPE)
    assert {each.scope for each in found} == {OTHER_TVM, OTHER_PIPELINE}
    assert sum(each.trials for each in found) == 3


def test_similar_scopes_come_in_the_order_of_their_likeness(records):
    a76 = {"mcpu": "cortex-a76", "target": "rk3588"}
    expected = [
        (OTHER_COST, "other cost"),
        (scope_of(target="rk3568", clocks_mhz=(2000,)), "other clocks"),
        (scope_of(threads=1), "other threads"),
        (scope_of(features=("+dotprod",)), "same core"),
        (scope_of(features=()), "same core"),
        (scope_of(**a76), "same architecture"),
        (scope_of(**a76, features=()), "same architecture"),
    ]
    unlike = [OTHER_TVM, OTHER_PIPELINE, scope_of(architecture="armv7l", mcpu="cortex-a7")]
    for scope in (SCOPE, *unlike, *(scope for scope, _ in reversed(expected))):
        records.append(make_record(scope=scope))
    records.append(make_record(scope=scope_of(governor="ondemand"), failure="timeout"))
    assert [(each.scope, each.closeness) for each in records.similar(SCOPE)] == expected


def test_workload_is_kept_once_per_version(records):
    first = make_workload()
    records.keep_workloads([first, make_workload("b"), make_workload(tvm="0.28.0")])
    records.keep_workloads([replace(first, json="other")])
    assert records.workloads(SCOPE.tvm) == (first, make_workload("b"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"costs": (), "failure": None},
        {"costs": (1.0,), "failure": "timeout"},
        {"costs": (0.0,)},
        {"costs": (math.nan,)},
        {"costs": (), "failure": "bored"},
        {"flops": -1.0},
        {"measured_at_s": math.inf},
        {"trace": ""},
        {"structural_hash": ""},
        {"detail": "\ud800"},
    ],
)
def test_record_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        replace(make_record(), **wrong)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"architecture": "mips"}, {"clocks_mhz": (0,)}, {"mcpu": ""}]
)
def test_fingerprint_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        replace(A55, **wrong)


def test_newer_schema_is_refused_and_left_alone(path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE trial (id); PRAGMA user_version=2; PRAGMA application_id=0x65640002"
    )
    connection.close()
    before = path.read_bytes()
    with open_records(path) as records, pytest.raises(UsageError, match="schema 2") as caught:
        records.append(make_record())
    assert "EDGEKIT_RECORDS_DIR" in caught.value.hint
    assert path.read_bytes() == before


def test_folder_that_cannot_be_written_is_told(tmp_path):
    folder = tmp_path / "records.sqlite"
    folder.mkdir()
    with open_records(folder) as records, pytest.raises(UsageError, match="cannot be used"):
        records.append(make_record())


def test_folder_that_cannot_be_made_or_locked_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / ".records.sqlite.lock").mkdir()
    for path in (tmp_path / "file" / "records.sqlite", tmp_path / "records.sqlite"):
        with open_records(path) as records, pytest.raises(UsageError) as caught:
            records.scopes()
        assert f"{path} cannot be used" in caught.value.message
        assert "EDGEKIT_RECORDS_DIR" in caught.value.hint


def test_file_that_another_program_locks_is_told(path, monkeypatch):
    monkeypatch.setattr("edgekit.tune.database._BUSY_TIMEOUT_S", 0.05)
    with open_records(path) as records:
        records.append(make_record())
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UsageError, match="locked by another program"):
            records.append(make_record())
        other.close()
        assert records.append(make_record())


def test_file_that_is_removed_in_mid_way_is_begun_anew(path, records):
    records.append(make_record())
    path.unlink()
    record = make_record()
    records.append(record)
    assert tuple(records.trials(SCOPE)) == (record,)


def _append_many(path, worker, count):
    with open_records(path) as records:
        for each in range(count):
            records.append(make_record(trace_bytes=6000, device=f"{worker}-{each}"))


def test_processes_that_append_at_once_lose_nothing(path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(path, n, 40)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with open_records(path) as records:
        found = [record.device for record in records.trials(SCOPE)]
    assert sorted(found) == sorted(f"{n}-{each}" for n in range(3) for each in range(40))


def test_threads_may_share_one_object(records):
    made = [make_record() for _ in range(60)]
    threads = [
        threading.Thread(target=lambda part: [records.append(each) for each in part], args=(part,))
        for part in (made[:20], made[20:40], made[40:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record.trace for record in records.trials(SCOPE)) == sorted(
        record.trace for record in made
    )


def test_reader_in_mid_way_holds_no_writer_up(records):
    for _ in range(3):
        records.append(make_record())
    reading = records.trials(SCOPE)
    next(reading)
    late = make_record()
    assert records.append(late)
    assert list(reading)[-1] == late


def test_values_are_told_by_their_content():
    assert Fingerprint("t", "aarch64", "m", ("b", "a")) == Fingerprint(
        "t", "aarch64", "m", ("a", "b")
    )
    record = make_record()
    assert Record.from_value(record.as_value() | {"costs": list(record.costs)}, SCOPE) == record
