"""The figures of a camera run are those of its frames, whatever became of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from camera_lines import crowded_record
from camera_records import COLUMNS, ENDS, MS, START_NS, simulate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.bench.latency import percentile
from edgekit.camera.figures import figures
from edgekit.camera.record import make_record
from edgekit.camera.window import window_of
from edgekit.core.camera import STAGES
from edgekit.core.errors import MeasurementInvalidError

LONG = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
BLOCK = ("block",) * 5
MOMENTS = ("offered_ns", "queued_ns", "start_ns", "end_ns")
EVENTFUL = {
    "times_ms": (3.0, 2.0, 60.0, 5.0, 1.0),
    "corrupt": frozenset({3, 9}),
    "failed": {0: "inference"},
    "stop_ms": 1500,
}


def run(**changes):
    return make_record(*simulate(**changes))


def stage_of(found, name):
    return next(stage for stage in found.stages if stage.name == name)


@st.composite
def records(draw):
    """Any record that holds together: each frame went some way, in any time, and ended."""
    step = st.integers(0, 30 * MS) | st.just(0)
    rows, dropped, delivered = [], {}, 0
    count = draw(st.integers(0, 12))
    for number in range(count):
        row = dict.fromkeys(COLUMNS, -1)
        at = START_NS + number * draw(st.sampled_from([0, 10 * MS, 900 * MS]))
        row |= {"number": number, "sequence": number, "captured_ns": at}
        end_stage = draw(st.integers(0, len(STAGES)))
        steps = iter(draw(st.lists(step, min_size=22, max_size=22)))
        at = row["arrived_ns"] = at + next(steps)
        for stage in STAGES[:end_stage]:
            for name in MOMENTS:
                at = row[f"{stage}.{name}"] = at + next(steps)
            row[f"{stage}.cpu_ns"], row[f"{stage}.core"] = at % 1000, number % 3
        end = "delivered"
        if end_stage < len(STAGES):
            end = draw(st.sampled_from(ENDS[1:]))
            for name in MOMENTS[: draw(st.integers(0, 2))]:
                at = row[f"{STAGES[end_stage]}.{name}"] = at + next(steps)
            causes = dropped.setdefault(STAGES[end_stage], {})
            causes[end] = causes.get(end, 0) + 1
        else:
            delivered += 1
        at += next(steps) if end != "delivered" else 0
        row |= {"end": ENDS.index(end), "end_stage": end_stage, "ended_ns": at}
        rows.append(row)
    table, _ = simulate(frames=0)
    table |= {
        "queues": {stage: {"depth": 99, "policy": "drop-oldest"} for stage in STAGES},
        "counts": {"captured": count, "delivered": delivered, "dropped": dropped, "lost": 0},
    }
    values = [[row[name] for name in COLUMNS] for row in rows]
    return make_record(table, np.array(values, np.int64).reshape(-1, len(COLUMNS)))


def timed(record, begin, end):
    """The times between two columns, of frames after the warm-up that have both."""
    from_ns = window_of(record).from_ns
    rows = zip(record.captured_ns.tolist(), begin.tolist(), end.tolist(), strict=True)
    return sorted(
        to - at for captured, at, to in rows if captured >= from_ns and at >= 0 and to >= 0
    )


def assert_spread(found, times_ns):
    if not times_ns:
        assert found is None
        return
    assert found.p50_ms == pytest.approx(percentile(times_ns, 50) / MS)
    assert found.p90_ms == pytest.approx(percentile(times_ns, 90) / MS)
    assert found.p99_ms == pytest.approx(percentile(times_ns, 99) / MS)
    assert found.mean_ms == pytest.approx(sum(times_ns) / len(times_ns) / MS)


@given(records())
@LONG
def test_every_captured_frame_is_delivered_or_dropped(record):
    found = figures(record)
    assert found.captured == found.delivered + sum(count for _, _, count in found.dropped)
    assert stage_of(found, "sink").frames == found.delivered
    by_stage = {
        (stage.name, cause): count for stage in found.stages for cause, count in stage.drops
    }
    assert by_stage == {(stage, cause): count for stage, cause, count in found.dropped}
    left = found.captured
    for stage in found.stages[1:]:
        left -= sum(count for _, count in stage.drops)
        assert stage.frames == left


@given(records())
@LONG
def test_percentiles_are_those_of_the_frames(record):
    found = figures(record)
    for stage, told in zip(record.stages, found.stages[1:], strict=True):
        assert_spread(told.wait, timed(record, stage.queued_ns, stage.start_ns))
        assert_spread(told.blocked, timed(record, stage.offered_ns, stage.queued_ns))
        assert_spread(told.time, timed(record, stage.start_ns, stage.end_ns))
    assert_spread(found.stages[0].time, timed(record, record.captured_ns, record.arrived_ns))
    ended_ns = np.where(record.was_delivered, record.ended_ns, -1)
    assert_spread(found.latency, timed(record, record.captured_ns, ended_ns))


@given(records())
@LONG
def test_depths_are_those_of_the_frames_that_wait(record):
    found, window = figures(record), window_of(record)
    for stage, told in zip(record.stages, found.stages[1:], strict=True):
        out_ns = np.where(stage.start_ns >= 0, stage.start_ns, record.ended_ns)
        waits = [
            (max(into, window.from_ns), min(out, window.to_ns))
            for into, out in zip(stage.queued_ns.tolist(), out_ns.tolist(), strict=True)
            if into >= 0 and out > window.from_ns
        ]
        if window.seconds:
            mean = sum(out - into for into, out in waits) / 1e9 / window.seconds
            assert told.depth_mean == pytest.approx(mean)
        entries = [into for into in stage.queued_ns.tolist() if into >= window.from_ns]
        most = max((sum(a <= at < b for a, b in waits) for at in entries), default=0)
        assert told.depth_most == most


@given(records())
@LONG
def test_shares_are_shares_and_all_goes_into_json(record):
    found = figures(record)
    assert json.loads(json.dumps(found.as_json()))["captured"] == record.frames
    for stage in found.stages[1:]:
        assert sum(share for _, share in stage.cores) == pytest.approx(1 if stage.cores else 0)
    if found.closure is not None:
        assert 0 < found.closure <= 1 + 1e-9


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("policy", ["block", "drop-oldest", "latest"])
def test_parts_close_on_the_latency_under_overload(policy, batch):
    found = figures(
        run(frames=200, times_ms=(3, 2, 70, 20, 1), policies=(policy,) * 5, batch=batch)
    )
    assert found.closure == pytest.approx(1.0, abs=1e-9)
    assert found.latency.mean_ms > 80


def test_piece_that_no_stage_accounts_for_shows_in_the_closure():
    table, rows = simulate(frames=100)
    later = [
        name for at, name in enumerate(COLUMNS)
        if name == "ended_ns" or (at > COLUMNS.index("inference.core") and name.endswith("_ns"))
        if not name.endswith("cpu_ns")
    ]  # fmt: skip
    for name in later:
        rows[:, COLUMNS.index(name)] += 10 * MS  # between inference's end and what follows
    found = figures(make_record(table, rows))
    assert found.closure == pytest.approx(1 - 10 / found.latency.mean_ms)
    assert 0.7 < found.closure < 0.8


def test_steady_line_has_the_figures_that_it_was_given():
    found = figures(run(frames=600, jitter=0.0, times_ms=(3.0, 2.0, 20.0, 5.0, 1.0)))
    assert (found.captured, found.delivered, found.lost) == (600, 600, 0)
    assert found.delivered_fps == pytest.approx(30.03, rel=0.001)
    assert found.captured_fps == pytest.approx(30.03, rel=0.001)
    assert found.latency.p99_ms == pytest.approx(4 + 3 + 2 + 20 + 5 + 1 + 5 * 0.02)
    inference = stage_of(found, "inference")
    assert inference.time.p50_ms == inference.held_ms == pytest.approx(20)
    assert inference.busy_share == pytest.approx(20 / 33.3, rel=0.01)
    assert inference.cpu_share == pytest.approx(0.9 * 20 / 33.3, rel=0.01)
    assert inference.rate_fps == pytest.approx(30.03, rel=0.01)
    assert inference.cores == ((2, 1.0),)
    camera = found.stages[0]
    assert (camera.name, camera.frames, camera.busy_share) == ("camera", 600, None)
    assert camera.time.p50_ms == pytest.approx(4.0)
    assert found.bottleneck == "camera"


def test_overloaded_line_names_its_bottleneck_and_its_drops():
    found = figures(run(frames=300, times_ms=(3.0, 2.0, 60.0, 5.0, 1.0)))
    inference = stage_of(found, "inference")
    assert found.bottleneck == "inference"
    assert dict(inference.drops)["latest"] == found.captured - found.delivered > 100
    assert inference.busy_share > 0.97
    assert (inference.depth_most, stage_of(found, "sink").depth_most) == (2, 1)


def test_full_queue_that_blocks_is_seen_in_depth_wait_and_block():
    slow = {"frames": 200, "times_ms": (3.0, 2.0, 60.0, 5.0, 1.0), "policies": BLOCK, "jitter": 0}
    found = figures(run(**slow, depths=(2, 2, 16, 2, 2)))
    inference = stage_of(found, "inference")
    assert inference.depth_most == 16
    assert 13 < inference.depth_mean <= 16
    assert inference.wait.p90_ms == pytest.approx(16 * 60, rel=0.05)
    assert inference.blocked.p90_ms > 30
    assert found.lost > 50


def test_frames_inferred_together_hold_the_stage_for_their_part():
    found = figures(
        run(frames=400, times_ms=(3, 2, 200, 1, 1), policies=BLOCK, depths=(4,) * 5, batch=4,
            jitter=0)
    )  # fmt: skip
    inference = stage_of(found, "inference")
    assert inference.time.p50_ms == pytest.approx(200)
    assert inference.held_ms == pytest.approx(50, rel=0.02)
    assert inference.busy_share <= 1


def test_long_run_leaves_its_first_second_out():
    found = figures(run(frames=300))
    assert found.warmup_s == 1.0
    assert found.warmup_frames == 31
    assert found.timed_frames == 300 - 31
    assert found.captured == 300


def test_engine_that_warms_for_longer_is_left_out_until_it_is_warm():
    table, rows = simulate(frames=300)
    record = make_record(table, rows)
    ended_ns = np.maximum(record.stage("inference").end_ns, record.captured_ns[0] + 2_000 * MS)
    stages = tuple(
        replace(stage, end_ns=ended_ns) if stage.name == "inference" else stage
        for stage in record.stages
    )
    assert figures(replace(record, stages=stages)).warmup_s == pytest.approx(2.0)


@pytest.mark.parametrize("frames", [1, 30, 140])
def test_short_run_leaves_nothing_out(frames):
    found = figures(run(frames=frames))
    assert (found.warmup_s, found.warmup_frames, found.timed_frames) == (0, 0, frames)


def test_frames_that_have_no_rows_are_counted():
    record = run(frames=100)
    counts = replace(record.counts, captured=250_000, delivered=250_000)
    found = figures(replace(record, counts=counts))
    assert (found.captured, found.delivered, found.timed_frames) == (250_000, 250_000, 100)


def test_frames_that_do_not_add_up_are_refused_with_the_difference():
    record = run(**EVENTFUL)
    counts = record.counts
    for change, words in [
        ({"captured": counts.captured + 2}, "2 unaccounted for"),
        ({"delivered": counts.delivered + 3}, "3 counted twice"),
        ({"dropped": counts.dropped[1:]}, f"{counts.dropped[0][2]} unaccounted for"),
    ]:
        with pytest.raises(MeasurementInvalidError, match=words) as caught:
            figures(replace(record, counts=replace(counts, **change)))
        assert caught.value.hint


def test_frame_without_an_end_is_refused():
    record = run(**EVENTFUL)
    end = record.end.copy()
    end[7] = -1
    with pytest.raises(MeasurementInvalidError, match="1 unaccounted for"):
        figures(replace(record, end=end))


def test_totals_that_are_not_those_of_the_frames_are_refused():
    record = run(**EVENTFUL)
    stage, cause, count = record.counts.dropped[0]
    counts = replace(
        record.counts,
        delivered=record.counts.delivered + 1,
        dropped=((stage, cause, count - 1), *record.counts.dropped[1:]),
    )
    with pytest.raises(MeasurementInvalidError, match="1 fewer"):
        figures(replace(record, counts=counts))


def test_failed_and_corrupt_frames_are_no_finished_ones():
    found = figures(run(**EVENTFUL))
    decode, inference = stage_of(found, "decode"), stage_of(found, "inference")
    assert dict(decode.drops) == {"corrupt": 2, "stopped": 1}
    assert decode.frames == found.captured - 3
    assert dict(inference.drops)["failed"] == 1
    assert inference.frames < decode.frames - 1


def test_source_that_was_away_is_told():
    found = figures(run(frames=200, away=((1000, 2500), (4000, 4200))))
    assert found.away_s == pytest.approx(1.7)
    assert found.source_fps == pytest.approx(30.03, rel=0.001)
    assert found.there_fps == pytest.approx(30.03, rel=0.02)
    assert found.delivered_fps < 0.9 * found.there_fps


@pytest.mark.parametrize(
    ("kind", "number", "frames", "told"),
    [
        ("rtsp", -1, 30, "rtsp gives no sequence numbers"),
        ("gstreamer", -1, 30, "gstreamer gives no sequence numbers"),
        ("v4l2", 0, 30, "the driver gives all frames one number"),
        ("v4l2", 0, 2, ""),
        ("v4l2", None, 30, ""),
        ("video", -1, 30, ""),
        ("folder", -1, 30, ""),
    ],
)
def test_why_losses_are_not_seen_is_told_where_frames_have_no_numbers(kind, number, frames, told):
    table, rows = simulate(frames=frames)
    table["source"]["kind"] = kind
    if number is not None:
        rows[:, COLUMNS.index("sequence")] = number
    assert figures(make_record(table, rows)).lost_unseen == told


def test_run_of_no_frames_has_no_figures():
    found = figures(run(frames=0))
    assert (found.captured, found.latency, found.closure, found.bottleneck) == (
        0,
        None,
        None,
        "camera",
    )
    assert found.limit == "no frame came"
    assert found.advice == ()
    assert json.dumps(found.as_json())


def test_processor_time_is_the_kernels_where_the_run_tells_it():
    record = crowded_record((3, 2, 20, 14, 1), cores=2)
    span_ns = record.span_ns[1] - record.span_ns[0]
    assert figures(record).cpu_cores == pytest.approx(40 / 21, rel=0.1)  # of the stages' threads
    assert figures(replace(record, cpu_ns=span_ns // 2)).cpu_cores == pytest.approx(0.5, rel=1e-6)
    assert figures(replace(record, cpu_ns=span_ns * 3)).cpu_cores == 2


def test_untimed_figures_keep_frames_and_depths_alone():
    timed = figures(run(frames=300, times_ms=(3.0, 2.0, 60.0, 5.0, 1.0)))
    found = timed.untimed()
    assert (found.dropped, found.captured) == (timed.dropped, timed.captured)
    for before, after in zip(timed.stages, found.stages, strict=True):
        assert (after.drops, after.depth_mean) == (before.drops, before.depth_mean)
    told = found.as_json()
    for name in ("captured_fps", "delivered_fps", "latency", "closure", "source_fps", "cpu_cores"):
        assert told[name] is None
    for name in ("rate_fps", "time", "wait", "blocked", "held_ms", "cpu_share", "busy_share"):
        assert {stage[name] for stage in told["stages"]} == {None}
    assert (told["advice"], told["what_if"], told["limit"], told["bottleneck"]) == ((), (), "", "")


def test_json_holds_the_promised_names():
    told = figures(run(frames=60)).as_json()
    assert set(told) >= {
        "seconds", "captured", "delivered", "lost", "dropped", "captured_fps", "delivered_fps",
        "latency", "closure", "away_s", "stages", "bottleneck", "limit", "advice", "what_if",
        "source_fps", "cpu_cores", "cores", "warmup_s", "warmup_frames", "timed_frames", "timed",
        "there_fps", "lost_unseen",
    }  # fmt: skip
    assert set(told["stages"][3]) >= {
        "name", "frames", "rate_fps", "time", "wait", "blocked", "depth_mean", "depth_most",
        "drops", "cpu_share", "busy_share", "cores", "held_ms",
    }  # fmt: skip
    assert set(told["latency"]) == {"p50_ms", "p90_ms", "p99_ms", "mean_ms"}
    assert set(told["what_if"][0]) == {"stage", "fps"}
