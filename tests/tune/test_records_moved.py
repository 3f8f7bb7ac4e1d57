"""Merged and sent about, records stay what they are; a wrong file leaves no trace."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_records import SCOPE, make_record, make_workload

from edgekit.core.errors import UsageError
from edgekit.tune.record import COST_KINDS, FAILURES, Fingerprint, Record, Scope
from edgekit.tune.records import open_records
from edgekit.tune.rows import Workload

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NAMED = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
SCOPES = st.builds(
    Scope,
    st.builds(
        Fingerprint,
        target=NAMED,
        architecture=st.sampled_from(["aarch64", "armv7l", "x86_64"]),
        mcpu=NAMED,
        features=st.lists(NAMED, max_size=3).map(tuple),
        threads=st.integers(1, 512),
        clocks_mhz=st.lists(st.integers(1, 6000), max_size=3).map(tuple),
        governor=TEXT,
    ),
    tvm=NAMED,
    pipeline=NAMED,
    cost=st.sampled_from(COST_KINDS),
)
OUTCOMES = st.one_of(
    st.lists(POSITIVE, min_size=1, max_size=4).map(lambda costs: (tuple(costs), None)),
    st.sampled_from(FAILURES).map(lambda failure: ((), failure)),
)
RECORDS = st.builds(
    lambda scope, outcome, **rest: Record(scope, costs=outcome[0], failure=outcome[1], **rest),
    SCOPES,
    OUTCOMES,
    structural_hash=NAMED,
    task=TEXT,
    trace=NAMED,
    measured_at_s=st.floats(0, 1e11),
    detail=TEXT,
    flops=st.floats(0, 1e15),
    device=TEXT,
)


def content_of(records):
    trials = [record for each in records.scopes() for record in records.trials(each.scope)]
    used = {(trial.scope.tvm, trial.structural_hash) for trial in trials}
    return trials, [
        held
        for tvm in sorted({tvm for tvm, _ in used})
        for held in records.workloads(tvm)
        if (tvm, held.structural_hash) in used
    ]


@settings(max_examples=40, deadline=None)
@given(made=st.lists(RECORDS, max_size=6), text=NAMED)
def test_export_and_import_give_the_same(made, text, tmp_path_factory):
    workloads = [Workload(each.scope.tvm, each.structural_hash, text) for each in made[::2]]
    folder = tmp_path_factory.mktemp("moved")
    stream = io.StringIO()
    with (
        open_records(folder / "a.sqlite") as first,
        open_records(folder / "b.sqlite") as second,
        open_records(folder / "c.sqlite") as third,
    ):
        first.keep_workloads(workloads)
        for record in made:
            first.append(record)
        count = first.export(stream)
        assert count == len(set(made))
        for _ in range(2):
            stream.seek(0)
            new = second.import_(stream)
            assert content_of(second) == content_of(first)
        assert new == 0
        again = io.StringIO()
        second.export(again)
        assert again.getvalue() == stream.getvalue()
        third.merge(first.path)
        assert content_of(third) == content_of(first)


@settings(max_examples=25, deadline=None)
@given(left=st.lists(RECORDS, max_size=4), right=st.lists(RECORDS, max_size=4), both=RECORDS)
def test_merging_twice_is_merging_once(left, right, both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merged")
    with (
        open_records(folder / "a.sqlite") as first,
        open_records(folder / "b.sqlite") as second,
    ):
        for record in (*left, both):
            first.append(record)
        for record in (*right, both):
            second.append(record)
        assert first.merge(second.path) == len({*right, both} - {*left, both})
        once = content_of(first)
        assert first.merge(second.path) == 0
        assert content_of(first) == once
        assert set(once[0]) == {*left, *right, both}


def test_one_scope_can_be_exported_alone(tmp_path):
    other = Scope(SCOPE.fingerprint, "0.28.0", "1")
    stream = io.StringIO()
    with open_records(tmp_path / "a.sqlite") as first, open_records(tmp_path / "b") as second:
        first.keep_workloads([make_workload(), make_workload(tvm="0.28.0"), make_workload("b")])
        first.append(make_record(scope=other))
        mine = make_record()
        first.append(mine)
        assert first.export(stream, [SCOPE]) == 1
        stream.seek(0)
        second.import_(stream)
        assert content_of(second) == ([mine], [make_workload()])


def lines_of_export(tmp_path):
    with open_records(tmp_path / "a.sqlite") as records:
        records.keep_workloads([make_workload()])
        for cost in (1.0, 2.0, 3.0):
            records.append(make_record(cost=cost))
        stream = io.StringIO()
        records.export(stream)
    return stream.getvalue().splitlines()


def refusal(tmp_path, lines):
    with open_records(tmp_path / "b.sqlite") as records:
        with pytest.raises(UsageError) as caught:
            records.import_(io.StringIO("".join(line + "\n" for line in lines)), "my.jsonl")
        assert records.scopes() == ()
        assert records.workloads(SCOPE.tvm) == ()
    assert caught.value.message.startswith("my.jsonl ")
    return caught.value.message


def changed(line, **changes):
    kind, value = next(iter(json.loads(line).items()))
    return json.dumps({kind: {**value, **changes}})


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (2, {"json": 3}, "a workload is text"),
        (3, {"cost": "euros"}, "seconds, instructions"),
        (3, {"fingerprint": None}, "a fingerprint is an object"),
        (4, {"costs": [0.5, "fast"]}, "costs must be a number"),
        (4, {"costs": 1}, "costs must be an array"),
        (4, {"costs": [float("nan")]}, "positive"),
        (4, {"costs": []}, "either costs or a failure"),
        (5, {"failure": "bored", "costs": []}, "build_error"),
        (5, {"colour": "red"}, "unknown: colour"),
        (5, {"flops": True}, "flops must be a number"),
        (5, {"flops": 10**400}, "too large"),
        (6, {"trace": "\ud800"}, "surrogate"),
        (7, {"trials": 4}, "should hold"),
    ],
)
def test_wrong_line_is_told_with_its_number_and_nothing_is_taken(tmp_path, number, change, words):
    lines = lines_of_export(tmp_path)
    assert len(lines) == 7
    lines[number - 1] = changed(lines[number - 1], **change)
    message = refusal(tmp_path, lines)
    assert f"line {number}: " in message
    assert words in message
    assert message.count("line ") == 1, "one fault is told once"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ('{"joke": 1}', "a line holds one of"),
        ("[" * 100_000, "JSON"),
        ('{"trial": {}}', "no costs"),
        ('{"trial": 1}', "a record is an object"),
    ],
)
def test_line_of_something_else_is_told(tmp_path, line, words):
    lines = lines_of_export(tmp_path)
    lines.insert(4, line)
    message = refusal(tmp_path, lines)
    assert "line 5: " in message
    assert words in message


def test_all_faults_are_told_at_once_but_not_without_end(tmp_path):
    lines = lines_of_export(tmp_path)
    message = refusal(tmp_path, [*lines[:3], *["{"] * 25, *lines[3:]])
    assert message.count("\n  line ") == 10
    assert "and 15 lines more" in message


@pytest.mark.parametrize("kept", [1, 3, 5, 6])
def test_file_that_was_cut_is_refused(tmp_path, kept):
    assert "cut off" in refusal(tmp_path, lines_of_export(tmp_path)[:kept])


def test_two_exports_in_one_file_are_refused(tmp_path):
    lines = lines_of_export(tmp_path)
    assert "line 8: something follows the last line" in refusal(tmp_path, lines * 2)


def test_trial_before_any_scope_is_refused(tmp_path):
    lines = lines_of_export(tmp_path)
    assert "line 3: a trial stands before any scope" in refusal(tmp_path, lines[:2] + lines[3:])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty"),
        (["hello"], "is no export"),
        (['{"a": 1}'], "is no export"),
        (['{"format": "edgekit tuning records", "version": 2}'], "version 2"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path, lines, words):
    assert words in refusal(tmp_path, lines)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    stream = io.TextIOWrapper(io.BytesIO(b"SQLite format 3\0\xff\xfe"), encoding="utf-8")
    with open_records(tmp_path / "b") as records, pytest.raises(UsageError, match="no text"):
        records.import_(stream)


def test_own_file_cannot_be_merged(tmp_path):
    with open_records(tmp_path / "a.sqlite") as records:
        records.append(make_record())
        with pytest.raises(UsageError, match="your own"):
            records.merge(tmp_path / "a.sqlite")
        with pytest.raises(UsageError, match="no file"):
            records.merge(tmp_path / "b.sqlite")


def test_read_only_database_can_be_merged(tmp_path):
    with open_records(tmp_path / "a.sqlite") as first:
        first.append(make_record())
    (tmp_path / "a.sqlite").chmod(0o400)
    with open_records(tmp_path / "b.sqlite") as second:
        assert second.merge(tmp_path / "a.sqlite") == 1
