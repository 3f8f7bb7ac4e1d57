"""A camera run's record is read whole, or refused with what is wrong in it."""

import copy
import io
from functools import reduce

import numpy as np
import pytest
from camera_records import BUNDLES, COLUMNS, ENDS, MS, simulate, write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.camera.record import make_record, read_record
from edgekit.camera.record_values import Decoded
from edgekit.core.camera import STAGES, QueueSpec
from edgekit.core.errors import EdgekitError, RunnerError

OPTIONAL = {"sink", "cpu_ns", "broken", "decoded"}
POLICIES = ("block", "drop-oldest", "latest")
EVENTFUL = {
    "times_ms": (3.0, 2.0, 60.0, 5.0, 1.0),
    "corrupt": frozenset({3, 9}),
    "failed": {5: "inference", 30: "sink"},
    "away": ((300, 700),),
    "switch_at": 20,
    "stop_ms": 1500,
}


@pytest.fixture(scope="module")
def eventful():
    return simulate(**EVENTFUL)


@st.composite
def runs(draw):
    """Any line: slow or fast, blocking or dropping, cut short or not."""
    of_stages = lambda each: tuple(draw(each) for _ in STAGES)  # noqa: E731
    return {
        "frames": draw(st.integers(0, 40)),
        "period_ms": draw(st.floats(0.05, 50)),
        "times_ms": of_stages(st.floats(0, 60)),
        "policies": of_stages(st.sampled_from(POLICIES)),
        "depths": of_stages(st.integers(1, 4)),
        "batch": draw(st.integers(1, 4)),
        "corrupt": draw(st.frozensets(st.integers(0, 39), max_size=4)),
        "failed": draw(st.dictionaries(st.integers(0, 39), st.sampled_from(STAGES), max_size=4)),
        "switch_at": draw(st.none() | st.integers(0, 39)),
        "stop_ms": draw(st.none() | st.floats(1, 900)),
        "seed": draw(st.integers(0, 99)),
    }


@given(runs())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_record_of_any_run_is_read(run):
    table, rows = simulate(**run)
    record = make_record(table, rows)
    assert record.frames == len(rows) == record.counts.captured
    assert record.was_delivered.sum() == record.counts.delivered
    by_name = dict(zip(COLUMNS, rows.T, strict=True))
    assert np.array_equal(record.ended_ns, by_name["ended_ns"])
    for stage in record.stages:
        assert np.array_equal(stage.start_ns, by_name[f"{stage.name}.start_ns"])


def test_files_are_read_as_they_were_left(eventful, tmp_path):
    table, rows = eventful
    record = read_record(write_run(tmp_path, table, rows))
    assert record.is_whole
    assert record.frames == len(rows) > 20
    assert record.bundles == BUNDLES
    assert record.queues == (QueueSpec(2, "latest"),) * 5
    assert record.source.card == "vivid"
    assert record.decoded == Decoded(2, 640, 360)
    assert record.capture_cpu_ns == table["capture"]["cpu_ns"]
    assert (record.cpu_ns, record.broken) == (table["cpu_ns"], "")
    assert (record.source.exposure_ns, record.source.stamped_at) == (10 * MS, "end of frame")
    assert [list(vars(switch).values()) for switch in record.switches] == table["switches"] != []
    assert [list(vars(away).values()) for away in record.away] == table["away"] != []
    assert dict(record.threads)["inference"] == table["threads"]["inference"]
    dropped = {(stage, cause): count for stage, cause, count in record.counts.dropped}
    assert dropped["decode", "corrupt"] == 2
    assert record.stage("inference").cpu_ns.max() > 0
    with pytest.raises(KeyError):
        record.stage("nothing")


def test_record_cannot_be_written_to(eventful):
    record = make_record(*eventful)
    with pytest.raises(ValueError, match="read-only"):
        record.stages[0].start_ns[0] = 1


def test_frames_come_in_the_order_of_their_numbers(eventful):
    table, rows = eventful
    turned = make_record(table, rows[::-1])
    assert np.array_equal(turned.number, np.arange(len(rows)))
    assert np.array_equal(turned.ended_ns, make_record(table, rows).ended_ns)


def test_newer_names_are_passed_over(eventful):
    table, rows = eventful
    newer = {**table, "weather": "fine", "columns": ["mood", *table["columns"]]}
    wider = np.concatenate([np.zeros((len(rows), 1), np.int64), rows], axis=1)
    assert np.array_equal(make_record(newer, wider).end, make_record(table, rows).end)


def test_what_a_run_may_leave_out_is_told_as_unknown(eventful):
    table, rows = eventful
    plain = {name: value for name, value in table.items() if name not in OPTIONAL}
    record = make_record({**plain, "source": {}}, rows)
    assert (record.cpu_ns, record.broken) == (None, "")
    assert (record.source.timestamps, record.source.exposure_ns) == ("arrival", 0)
    assert record.source.buffers == 0
    assert record.decoded is None
    assert make_record({**table, "decoded": {}}, rows).decoded is None


def test_run_of_no_frames_is_read(tmp_path):
    record = read_record(write_run(tmp_path, *simulate(frames=0)))
    assert (record.frames, record.counts.captured) == (0, 0)


def test_frames_past_the_kept_ones_are_counted_only(eventful, monkeypatch):
    table, rows = eventful
    monkeypatch.setattr("edgekit.camera.record.MOST_ROWS", 10)
    record = make_record(table, rows[:10])
    assert (record.frames, record.is_whole) == (10, False)
    assert record.counts.captured == len(rows)


def changed(table, path, value):
    """The table with another value at a path of keys."""
    copied = copy.deepcopy(table)
    *way, last = path
    reduce(lambda at, key: at[key], way, copied)[last] = value
    return copied


WRONG = [
    (("format",), 2, "format = 2"),
    (("stages",), ["decode", "decode"], "stages"),
    (("stages",), [], "stages"),
    (("stages", 2), "guess", "guess.offered_ns"),
    (("columns",), ["number"], "sequence, captured_ns"),
    (("ends", 0), "arrived", "delivered"),
    (("queues", "sink", "policy"), "often", "queues.sink.policy = 'often'"),
    (("queues", "sink", "depth"), 0, "queues.sink.depth = 0"),
    (("queues",), {}, "decode"),
    (("source", "fps"), float("nan"), "source.fps"),
    (("source", "width"), -1, "source.width"),
    (("source", "buffers"), -4, "source.buffers"),
    (("source", "timestamps"), "guess", "source.timestamps"),
    (("source", "offered"), "all", "source.offered"),
    (("decoded", "by"), 0, "decoded.by = 0"),
    (("decoded", "width"), "wide", "decoded.width"),
    (("decoded",), {"by": 2}, "width"),
    (("decoded",), 2, "decoded"),
    (("capture",), {}, "cpu_ns"),
    (("lost",), [[1, 0, "driver"]], "lost[0]"),
    (("lost",), [[1, 1]], "lost[0]"),
    (("away", 0, 1), 7, "away[0]"),
    (("faults",), [3], "faults[0] = 3"),
    (("switches", 0, 2), 2, "switches[0] = 2"),
    (("span_ns",), [2, 1], "span_ns"),
    (("threads", "sink"), "seven", "threads.sink"),
    (("cores",), True, "cores = True"),
    (("bundles",), {}, "bundles"),
    (("counts", "captured"), 1 << 70, "counts.captured"),
    (("counts", "delivered"), 0, "counts.captured"),
    (("counts", "lost"), None, "counts.lost"),
    (("counts", "dropped"), {"roof": {}}, "roof"),
    (("counts", "dropped"), {"decode": {"delivered": 1}}, "delivered"),
]


@pytest.mark.parametrize(("path", "value", "named"), WRONG)
def test_wrong_value_is_named(eventful, path, value, named):
    table, rows = eventful
    with pytest.raises(RunnerError) as caught:
        make_record(changed(table, path, value), rows)
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", sorted(set(simulate(frames=1)[0]) - OPTIONAL))
def test_absent_name_is_named(eventful, name):
    table, rows = eventful
    with pytest.raises(RunnerError, match=name):
        make_record({key: value for key, value in table.items() if key != name}, rows)


def test_drop_told_at_another_stage_is_refused(eventful):
    table, rows = eventful
    moved = copy.deepcopy(table)
    dropped = moved["counts"]["dropped"]
    dropped.setdefault("sink", {})["corrupt"] = dropped["decode"].pop("corrupt")
    with pytest.raises(RunnerError, match="counts of corrupt at"):
        make_record(moved, rows)


def outcome(make):
    """What is made, or the error on the way."""
    try:
        return make()
    except EdgekitError as error:
        return error


def cell(rows, number, column, value):
    copied = rows.copy()
    copied[number, COLUMNS.index(column)] = value
    return copied


WRONG_CELLS = [
    ("number", 1, "frame 1's number"),
    ("captured_ns", -5, "captured_ns = -5"),
    ("end", len(ENDS), "end = 7, not from 0 to 6"),
    ("end", ENDS.index("stopped"), "end_stage"),
    ("end_stage", 9, "end_stage = 9"),
    ("end_stage", 4, "end_stage = 4"),
    ("ended_ns", 3, "ended_ns = 3"),
    ("bundle", 2, "bundle = 2"),
    ("decode.start_ns", -1, "decode.start_ns = -1"),
    ("decode.end_ns", 9, "decode.end_ns = 9"),
    ("sink.core", -2, "sink.core = -2"),
    ("postprocess.offered_ns", 9, "postprocess.offered_ns = 9"),
]


@pytest.mark.parametrize(("column", "value", "named"), WRONG_CELLS)
def test_frame_that_cannot_be_is_named(column, value, named):
    table, rows = simulate(frames=6)
    with pytest.raises(RunnerError) as caught:
        make_record(table, cell(rows, 0, column, value))
    assert named in caught.value.message


def test_moment_after_a_frames_end_is_refused():
    table, rows = simulate(frames=6, corrupt=frozenset({2}))
    with pytest.raises(RunnerError, match=r"frame 2's sink\.start_ns"):
        make_record(table, cell(rows, 2, "sink.start_ns", 1 << 60))


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: rows[:, :-1],
                                    lambda rows: rows.astype(float), lambda rows: rows[0],
                                    lambda rows: rows.astype(np.int32)])  # fmt: skip
def test_rows_of_another_form_are_refused(eventful, change):
    table, rows = eventful
    with pytest.raises(RunnerError, match="rows"):
        make_record(table, change(rows))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def paths(value, way=()):
    """Every place in a table."""
    held = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in held:
        yield (*way, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*way, key))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_other_value_is_read_or_refused_by_name(eventful, data):
    table, rows = eventful
    path, junk = data.draw(st.sampled_from(list(paths(table)))), data.draw(JUNK)
    found = outcome(lambda: make_record(changed(table, path, junk), rows))
    assert found.hint if isinstance(found, EdgekitError) else found.frames == len(rows)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_other_cell_is_read_or_refused_by_name(eventful, data):
    table, rows = eventful
    number = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(COLUMNS))
    value = data.draw(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 9))
    found = outcome(lambda: make_record(table, cell(rows, number, column, value)))
    assert found.hint if isinstance(found, EdgekitError) else found.frames == len(rows)


@pytest.mark.filterwarnings("ignore")  # NumPy's and Python's, on reading a damaged header
@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_file_is_read_or_refused_by_name(eventful, tmp_path_factory, data):
    table, rows = eventful
    folder = write_run(tmp_path_factory.mktemp("run"), table, rows)
    path = folder / data.draw(st.sampled_from(["camera.json", "frames.npy"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = outcome(lambda: read_record(folder))
    assert found.hint if isinstance(found, EdgekitError) else found.frames == len(rows)


@pytest.mark.parametrize("name", ["camera.json", "frames.npy"])
@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b"PK\x03\x04 is no run"]
)
def test_file_that_is_none_is_named(eventful, tmp_path, name, content):
    folder = write_run(tmp_path, *eventful)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(RunnerError, match=name):
        read_record(folder)


def test_pickled_rows_are_not_loaded(eventful, tmp_path):
    folder = write_run(tmp_path, *eventful)
    np.save(folder / "frames.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RunnerError, match=r"frames\.npy"):
        read_record(folder)


def test_header_that_promises_too_much_is_refused(eventful, tmp_path):
    folder = write_run(tmp_path, *eventful)
    held = io.BytesIO()
    header = {"descr": "<i8", "fortran_order": False, "shape": (1 << 40, len(COLUMNS))}
    np.lib.format.write_array_header_1_0(held, header)
    (folder / "frames.npy").write_bytes(held.getvalue() + b"\0" * 800)
    with pytest.raises(RunnerError, match=r"frames\.npy"):
        read_record(folder)
