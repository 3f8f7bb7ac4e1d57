"""A camera run's timeline holds what its record holds, as Perfetto's trace processor reads it."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import trace_processor
from camera_records import BUNDLES, MS, START_NS
from camera_timelines import HEALTH, LAYERS, POWER, S, make_run

from edgekit.camera.trace import write_trace
from edgekit.core.camera import STAGES

pytestmark = pytest.mark.skipif(
    bool(trace_processor.missing()), reason=trace_processor.missing() or "it is there"
)


@pytest.fixture(scope="module")
def record():
    return make_run()


@pytest.fixture(scope="module")
def asked(record, tmp_path_factory):
    """Takes SQL, of a trace with everything in it."""
    path = tmp_path_factory.mktemp("trace") / "run.pftrace"
    write_trace(record, path, power=POWER, health=HEALTH, layers=LAYERS)
    with trace_processor.opened(path) as query:
        yield query


SLICES = "SELECT s.ts, s.dur, s.name, s.depth, t.name AS track FROM slice s JOIN track t ON t.id = s.track_id"  # noqa: E501


def slices(asked, track, more=""):
    return asked(f"{SLICES} WHERE t.name = '{track}' {more} ORDER BY s.ts")


def test_trace_processor_has_nothing_to_complain_of(asked):
    assert asked("SELECT name, value FROM stats WHERE severity != 'info' AND value != 0") == []
    assert asked("SELECT int_value AS clock FROM metadata WHERE name = 'trace_time_clock_id'") == [
        {"clock": 3}  # BUILTIN_CLOCK_MONOTONIC
    ]


def test_tracks_come_in_the_order_of_the_line(asked):
    rows = asked(
        "SELECT DISTINCT t.name, extract_arg(t.source_arg_set_id, 'sibling_order_rank') AS rank "
        "FROM track t JOIN track p ON t.parent_id = p.id WHERE p.name = 'pipeline' ORDER BY rank"
    )
    line = [name for stage in STAGES for name in (f"{stage} queue", stage)]
    assert [row["name"] for row in rows] == [
        "camera", *line, "drops", "bundles", "source away",
        "frames a second", "latency", "queue depth", "power", "temperature", "clock",
    ]  # fmt: skip
    (process,) = asked("SELECT pid, name FROM process WHERE name IS NOT NULL")
    assert process == {"pid": 400, "name": "camera pipeline /dev/video0"}


@pytest.mark.parametrize("name", STAGES)
def test_stage_has_a_slice_of_each_frame_that_it_worked_on(asked, record, name):
    stage = record.stage(name)
    ends = np.where(stage.end_ns >= 0, stage.end_ns, record.ended_ns)
    wanted = [
        (start, end - start, f"frame {number}")
        for start, end, number in zip(stage.start_ns, ends, record.number, strict=True)
        if start >= 0
    ]
    found = [(row["ts"], row["dur"], row["name"]) for row in slices(asked, name, "AND s.depth = 0")]
    assert sorted(found) == sorted(wanted)
    assert len(wanted) > 20


def test_details_of_a_slice_are_those_of_the_frame(asked, record):
    rows = asked(
        "SELECT s.name, extract_arg(s.arg_set_id, 'debug.number') AS number, "
        "extract_arg(s.arg_set_id, 'debug.sequence') AS sequence, "
        "extract_arg(s.arg_set_id, 'debug.core') AS core, "
        "extract_arg(s.arg_set_id, 'debug.cpu_ms') AS cpu_ms, "
        "extract_arg(s.arg_set_id, 'debug.batch') AS batch, "
        "extract_arg(s.arg_set_id, 'debug.bundle') AS bundle, "
        "extract_arg(s.arg_set_id, 'debug.ended') AS ended "
        "FROM slice s JOIN track t ON t.id = s.track_id WHERE t.name = 'inference' AND depth = 0"
    )
    stage = record.stage("inference")
    for row in rows:
        at = row["number"]
        assert row["name"] == f"frame {at}"
        assert row["sequence"] == record.sequence[at]
        assert row["batch"] == record.batch[at]
        assert row["bundle"] == BUNDLES[record.bundle[at]][:12]
        if stage.end_ns[at] >= 0:
            assert row["core"] == stage.core[at]
            assert row["cpu_ms"] == stage.cpu_ns[at] / 1e6
    ended = {row["number"]: row["ended"] for row in rows if row["ended"]}
    assert ended[6] == "failed"
    assert "stopped" in ended.values()
    assert {row["bundle"] for row in rows} == {bundle[:12] for bundle in BUNDLES}


def test_queue_holds_a_frame_from_its_offer_to_its_start(asked, record):
    for index, stage in enumerate(record.stages):
        left = np.where(stage.start_ns >= 0, stage.start_ns, record.ended_ns)
        offered = stage.offered_ns >= 0
        wanted = sorted(zip(stage.offered_ns[offered], left[offered], strict=True))
        found = slices(asked, f"{stage.name} queue", "AND s.depth = 0")
        assert sorted((row["ts"], row["ts"] + row["dur"]) for row in found) == wanted
        blocked = slices(asked, f"{stage.name} queue", "AND s.depth = 1")
        assert {row["name"] for row in blocked} <= {"blocked"}
        total = (stage.queued_ns - stage.offered_ns)[stage.queued_ns >= 0].sum()
        is_block = record.queues[index].policy == "block"
        assert sum(row["dur"] for row in blocked) >= total * is_block
        assert bool(blocked) <= is_block
    assert slices(asked, "inference queue", "AND s.depth = 1")


def test_camera_has_frames_that_overlap(asked, record):
    found = slices(asked, "camera")
    assert [row["ts"] for row in found] == sorted(record.captured_ns)
    assert {row["depth"] for row in found} == {0}
    assert {row["dur"] for row in found} == {40 * MS}


def test_flow_leads_each_frame_through_its_stages_to_its_end(asked, record):
    rows = asked(
        "SELECT a.name AS frame, f.track AS source, g.track AS target FROM flow "
        f"JOIN ({SLICES.replace('SELECT', 'SELECT s.id,')}) f ON f.id = flow.slice_out "
        f"JOIN ({SLICES.replace('SELECT', 'SELECT s.id,')}) g ON g.id = flow.slice_in "
        "JOIN slice a ON a.id = flow.slice_out"
    )
    found = defaultdict(list)
    for row in rows:
        found[row["frame"]].append((row["source"], row["target"]))
    for at in range(record.frames):
        passed = ["camera"]
        for stage in record.stages:
            passed += [f"{stage.name} queue"] * bool(stage.offered_ns[at] >= 0)
            passed += [stage.name] * bool(stage.start_ns[at] >= 0)
        passed += ["drops"] * (not record.was_delivered[at])
        assert sorted(found[f"frame {at}"]) == sorted(itertools.pairwise(passed)), at


def test_every_drop_is_an_instant_with_its_cause(asked, record):
    rows = asked(
        "SELECT s.ts, s.dur, s.name, extract_arg(s.arg_set_id, 'debug.stage') AS stage, "
        "extract_arg(s.arg_set_id, 'debug.number') AS number FROM slice s "
        "JOIN track t ON t.id = s.track_id WHERE t.name = 'drops'"
    )
    counted = Counter((row["stage"], row["name"]) for row in rows)
    assert counted == {(stage, cause): count for stage, cause, count in record.counts.dropped}
    assert len({cause for _, cause in counted}) >= 4
    assert {row["dur"] for row in rows} == {0}
    assert all(row["ts"] == record.ended_ns[row["number"]] for row in rows)


def test_switch_and_absence_are_told_with_their_reasons(asked, record):
    why = "extract_arg(s.arg_set_id, 'debug.why') AS why"
    on = "FROM slice s JOIN track t ON t.id = s.track_id WHERE t.name ="
    (switch,) = record.switches
    assert asked(f"SELECT s.ts, s.name, {why} {on} 'bundles'") == [
        {"ts": switch.at_ns, "name": "to cdcdcdcdcdcd", "why": switch.why}
    ]
    assert asked(f"SELECT s.ts, s.dur, {why} {on} 'source away' ORDER BY s.ts") == [
        {"ts": gone.from_ns, "dur": gone.to_ns - gone.from_ns, "why": gone.why}
        for gone in record.away
    ]


def test_layers_fill_the_inferences_of_the_first_bundle(asked, record):
    rows = asked(
        "SELECT s.name, s.ts, s.dur, p.ts AS outer_ts, p.dur AS outer_dur, "
        "extract_arg(p.arg_set_id, 'debug.bundle') AS bundle, "
        "extract_arg(s.arg_set_id, 'debug.from') AS told, "
        "extract_arg(s.arg_set_id, 'debug.profiled_ms') AS profiled_ms "
        "FROM slice s JOIN slice p ON p.id = s.parent_id JOIN track t ON t.id = s.track_id "
        "WHERE t.name = 'inference' ORDER BY s.ts"
    )
    stage = record.stage("inference")
    worked = (record.bundle == 0) & (stage.end_ns >= 0)
    assert len(rows) == 2 * len(set(stage.start_ns[worked]))  # frames of one batch have them once
    for conv, head in zip(rows[::2], rows[1::2], strict=True):
        assert (conv["name"], head["name"]) == ("conv1", "head")
        assert conv["ts"] == conv["outer_ts"]
        assert conv["ts"] + conv["dur"] == head["ts"]
        assert head["ts"] + head["dur"] == conv["outer_ts"] + conv["outer_dur"]
        assert conv["dur"] == pytest.approx(2 * head["dur"], abs=2)
        assert (conv["profiled_ms"], head["profiled_ms"]) == (6.0, 3.0)
        assert "a profiled run apart" in conv["told"]
    assert {row["bundle"] for row in rows} == {BUNDLES[0][:12]}


def test_counters_have_the_values_that_were_read(asked, record):
    rows = asked(
        "SELECT g.name AS kind, t.name, u.unit, c.ts, c.value FROM counter c "
        "JOIN track t ON t.id = c.track_id JOIN track g ON g.id = t.parent_id "
        "JOIN counter_track u ON u.id = c.track_id ORDER BY c.ts"
    )
    found = defaultdict(list)
    for row in rows:
        found[row["kind"], row["name"], row["unit"]].append((row["ts"], row["value"]))
    assert {kind for kind, _, _ in found} == {
        "frames a second", "latency", "queue depth", "power", "temperature", "clock",
    }  # fmt: skip
    vdd = zip(POWER.series[0].times_ns, POWER.series[0].values, strict=True)
    assert found["power", "VDD_IN", "W"] == [(at, value / 1e6) for at, value in vdd]
    assert found["power", "cores", "W"] == [(START_NS, 0.9995), (START_NS + S, 2.0)]
    assert len(found["power", "same (ina-1)", "W"]) == 1
    assert len(found["power", "same (ina-2)", "W"]) == 2
    degrees = [value for _, value in found["temperature", "cpu-thermal (0)", "°C"]]
    assert degrees == [45.5, 46.5, 47.5]
    assert ("temperature", "zone (1)", "°C") in found
    assert [value for _, value in found["clock", "cpu 0-3", "MHz"]] == [1800.0, 1700.0, 1600.0]
    assert [value for _, value in found["clock", "cpu 4,6", "MHz"]] == [600.0] * 3
    delivered = np.flatnonzero(record.was_delivered)
    late = {
        (record.ended_ns[at], (record.ended_ns[at] - record.captured_ns[at]) / 1e6)
        for at in delivered
    }
    assert set(found["latency", "capture to end", "ms"]) == late
    for stage in STAGES:
        depths = [value for _, value in found["queue depth", f"waiting for {stage}", "frames"]]
        assert (min(depths), depths[-1]) == (0, 0)
        assert max(depths) <= 2
    assert found["frames a second", "captured", "fps"][0] == (START_NS, 30.0)
    assert ("frames a second", "delivered", "fps") in found
