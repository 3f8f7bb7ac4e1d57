"""A bound on what a line reaches without a stage holds, and says something."""

import json
from dataclasses import replace

import numpy as np
import pytest
from camera_lines import crowded_record, steady_fps
from camera_records import COLUMNS, MS, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.camera.pace import is_live
from edgekit.camera.record import make_record
from edgekit.camera.what_if import CAMERA, limits_of
from edgekit.camera.window import window_of
from edgekit.camera.work import Crowd, Work
from edgekit.core.camera import STAGES, PipelineSpec, SourceSpec

BLOCK = ("block",) * 5
LOOSE = 1.2  # a bound this much above what is reached still says something
FAST_CAMERA = {"period_ms": 1.0, "policies": BLOCK, "frames": 20_000, "stop_ms": 8_000}


def limits(record):
    return limits_of(record, window_of(record))


def without(times, stage):
    """The same times, with nothing for one stage."""
    return tuple(0.0 if name == stage else each for name, each in zip(STAGES, times, strict=True))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "times_ms", [(3.0, 2.0, 20.0, 14.0, 1.0), (9.0, 1.0, 8.0, 7.0, 6.0), (1.0, 1.0, 5.0, 2.0, 25.0)]
)
def test_bound_holds_on_a_line_with_a_core_for_every_stage(times_ms, stage):
    run = {**FAST_CAMERA, "times_ms": times_ms, "jitter": 0.0}
    bound = limits(make_record(*simulate(**run))).fps_without(stage)
    reached = steady_fps(
        make_record(*simulate(**{**run, "times_ms": without(times_ms, stage)})),
    )
    assert reached <= bound * 1.001 <= reached * LOOSE


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize(
    "cpu_ms", [(3.0, 2.0, 20.0, 14.0, 1.0), (9.0, 4.0, 8.0, 7.0, 6.0), (5.0, 5.0, 5.0, 5.0, 5.0)]
)
def test_bound_holds_where_stages_share_the_cores(cpu_ms, cores, stage):
    bound = limits(crowded_record(cpu_ms, cores=cores)).fps_without(stage)
    reached = steady_fps(crowded_record(without(cpu_ms, stage), cores=cores))
    assert reached <= bound * 1.02 <= reached * LOOSE


TIME_MS = st.floats(0.5, 25)


@given(
    st.tuples(*[TIME_MS] * 5),
    st.tuples(*[st.just(0.0) | TIME_MS] * 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(STAGES),
)
@settings(deadline=None, max_examples=25)
def test_bound_holds_on_any_line(cpu_ms, wait_ms, cores, depth, stage):
    line = {"frames": 150, "cores": cores, "depth": depth}
    bound = limits(crowded_record(cpu_ms, wait_ms=wait_ms, **line)).fps_without(stage)
    free = without(cpu_ms, stage), without(wait_ms, stage)
    # Frames take up to a tenth more or less, so that the means of two runs differ.
    assert steady_fps(crowded_record(free[0], wait_ms=free[1], **line)) <= bound * 1.05


@pytest.mark.parametrize("stage", ["preprocess", "postprocess"])
def test_stage_that_waits_for_a_unit_of_its_own_is_no_work_for_the_cores(stage):
    cpu_ms, wait_ms = (2.0, 2.0, 1.0, 12.0, 1.0), (0.0, 0.0, 20.0, 0.0, 0.0)
    found = limits(crowded_record(cpu_ms, wait_ms=wait_ms, cores=4))
    reached = steady_fps(crowded_record(without(cpu_ms, stage), wait_ms=wait_ms, cores=4))
    assert reached <= found.fps_without(stage) * 1.02 <= reached * LOOSE
    assert found.cpu_ns["inference"] == pytest.approx(1.0 * MS, rel=0.05)


@pytest.mark.parametrize(("stage", "fps"), [("decode", 100), ("inference", 1000 / 14)])
def test_frames_inferred_together_share_their_time(stage, fps):
    times_ms = (3.0, 2.0, 40.0, 14.0 if stage == "inference" else 1.0, 1.0)
    run = {**FAST_CAMERA, "times_ms": times_ms, "jitter": 0.0, "batch": 4, "depths": (4,) * 5}
    found = limits(make_record(*simulate(**run)))
    reached = steady_fps(make_record(*simulate(**{**run, "times_ms": without(times_ms, stage)})))
    # The simulated threads compute for nine tenths of their time: the rest may be others' doing.
    assert fps <= found.fps_without(stage) <= fps / 0.9 * 1.001
    assert reached <= found.fps_without(stage) * 1.001 <= reached * LOOSE


def test_camera_is_a_bound_of_its_own_whatever_the_line_does():
    for times_ms in [(3.0, 2.0, 20.0, 5.0, 1.0), (3.0, 2.0, 90.0, 5.0, 1.0)]:
        found = limits(make_record(*simulate(frames=200, times_ms=times_ms, policies=BLOCK)))
        assert found.fps_without("inference") == pytest.approx(1000 / 33.3, rel=0.001)
        assert found.fps_without(CAMERA) == pytest.approx(1000 / times_ms[2], rel=0.12)


def test_camera_has_its_pace_whatever_its_driver_does_to_numbers():
    slow = {"frames": 200, "times_ms": (3.0, 2.0, 90.0, 5.0, 1.0), "policies": BLOCK}
    table, rows = simulate(**slow)
    sequence = COLUMNS.index("sequence")
    rows[:, sequence] = (rows[:, sequence] + 2**32 - 100) % 2**32
    rows[50, sequence] = rows[49, sequence]
    rows[70, sequence] = rows[69, sequence]
    assert (np.diff(rows[:, sequence]) < 0).sum() == 1
    assert limits(make_record(table, rows)).pace.fps == pytest.approx(1000 / 33.3, rel=0.001)
    paces = []
    for number in (7, -1):  # one that counts nothing tells as much as one that has no numbers
        rows[:, sequence] = number
        paces.append(limits(make_record(table, rows)).pace)
    assert paces[0] == paces[1]


def test_away_camera_is_no_slower_for_it():
    found = limits(make_record(*simulate(frames=300, away=((2000, 5000), (6000, 6100)))))
    assert found.pace.fps == pytest.approx(1000 / 33.3, rel=0.001)


def test_file_that_is_held_up_has_no_pace_but_the_one_asked_for():
    slow = (2.0, 2.0, 20.0, 2.0, 2.0)
    assert limits(crowded_record(slow)).pace.fps is None
    video = crowded_record(slow, source={"kind": "video", "fps": 25.0})
    assert limits(video).pace.fps is None
    asked = PipelineSpec(SourceSpec("video", "a.mp4", fps=60.0))
    timed = limits_of(video, window_of(video), asked)
    assert (timed.pace.fps, timed.fps_without("inference")) == (60.0, 60.0)
    assert limits(crowded_record(slow, source={"kind": "folder", "fps": 60.0})).pace.fps == 60.0


def test_drawn_camera_has_a_pace_only_with_a_rate():
    slow = {"frames": 200, "times_ms": (3.0, 2.0, 90.0, 5.0, 1.0), "policies": BLOCK}
    table, rows = simulate(**slow)
    table["source"] |= {"kind": "drawn", "fps": 30.0}
    assert is_live(make_record(table, rows).source)
    assert limits(make_record(table, rows)).pace.fps == pytest.approx(1000 / 33.3, rel=0.001)
    table["source"] |= {"fps": 0.0}
    assert not is_live(make_record(table, rows).source)
    assert limits(make_record(table, rows)).pace.fps > 40  # what it took once it was asked


def test_line_of_no_times_has_no_bound():
    record = crowded_record((0.0,) * 5, wait_ms=(0.0, 0.0, 1.0, 0.0, 0.0), cores=2)
    found = {each.stage: each.fps for each in limits(record).what_if()}
    assert list(found) == [CAMERA, *STAGES]
    assert found["inference"] is None
    assert found["sink"] == pytest.approx(1000, rel=0.15)
    assert json.dumps(found)


def test_run_of_no_frames_has_no_bounds():
    record = make_record(*simulate(frames=0))
    assert {each.fps for each in limits(record).what_if()} == {None}


@st.composite
def works(draw):
    """Works of one stage, one after the other, with and without pauses."""
    steps = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=12))
    moments = np.cumsum(np.array(steps, np.int64).reshape(-1, 2).ravel())
    start_ns, end_ns = moments[::2], moments[1::2]
    ones = np.ones(len(start_ns), np.int64)
    return Work(start_ns, end_ns, ones, end_ns - start_ns, ones)


def moments(work):
    """Every nanosecond during which a stage worked."""
    spans = zip(work.start_ns.tolist(), work.end_ns.tolist(), strict=True)
    return [set(range(start, end)) for start, end in spans]


@given(st.lists(works(), min_size=1, max_size=4), st.integers(1, 3))
@settings(deadline=None)
def test_time_beside_others_is_that_counted_nanosecond_by_nanosecond(stages, count):
    crowd = Crowd(stages)
    busy = [set().union(*moments(work)) for work in stages]
    for work in stages:
        told = crowd.beyond(count, work).tolist()
        counted = [
            sum(sum(at in each for each in busy) > count for at in span) for span in moments(work)
        ]
        assert told == counted


@given(works(), works())
def test_time_of_another_stage_is_that_counted_nanosecond_by_nanosecond(one, other):
    busy = set().union(*moments(one))
    assert one.within(other).tolist() == [len(span & busy) for span in moments(other)]


@given(works(), works(), st.lists(st.integers(0, 9), min_size=12, max_size=12))
def test_time_that_another_stage_can_have_computed_is_that_counted_work_by_work(one, other, cpu):
    one = replace(one, cpu_ns=np.minimum(np.array(cpu[: len(one)], np.int64), one.wall_ns))
    works = list(zip(moments(one), one.cpu_ns.tolist(), strict=True))
    counted = [sum(min(len(span & at), cpu_ns) for at, cpu_ns in works) for span in moments(other)]
    assert one.cpu_within(other).tolist() == counted
