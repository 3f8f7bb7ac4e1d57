"""Each sentence about a run stands where the figures support it, and nowhere else."""

import re
from dataclasses import replace

import numpy as np
import pytest
from camera_lines import crowded_record
from camera_records import COLUMNS, ENDS, MS, simulate
from camera_words import BLOCK, QUICK, SLOW, WORK, assert_none, camera, said, the_one

from edgekit.camera.figures import figures
from edgekit.camera.record import make_record
from edgekit.core.camera import STAGES


def test_line_that_keeps_up_gets_no_advice():
    found = figures(camera())
    assert found.advice == ()
    assert found.limit == (
        "the camera: it gives 30.0 fps, and the line keeps up; the busiest stage, inference, "
        "works 32% of the time"
    )


def test_slowest_stage_is_told_with_what_a_quicker_one_would_save():
    found = figures(crowded_record(WORK, cores=8, jitter=0.0))
    sentence = the_one(found.advice, "postprocess")
    assert sentence == (
        "postprocess 14.0 ms a frame on one core: move the NMS into the model, or let fewer "
        f"candidates through: saves up to 9.0 ms a frame, at most 200.0 fps instead of "
        f"{found.delivered_fps:.1f}"
    )
    assert found.bottleneck == "postprocess"
    assert found.limit == "postprocess: 14.0 ms a frame on one core; it works 100% of the time"


def test_frames_that_came_in_a_burst_are_no_stages_doing():
    table, rows = simulate(frames=300, times_ms=QUICK)
    at = {name: place for place, name in enumerate(COLUMNS)}
    burst = rows[100:106]
    burst[:, at["end"]], burst[:, at["end_stage"]] = ENDS.index("latest"), 0
    burst[:, at["ended_ns"]] = burst[:, at["decode.queued_ns"]] + 1
    burst[:, [at["bundle"], at["batch"], *range(at["decode.start_ns"], len(COLUMNS))]] = -1
    table["counts"] |= {"delivered": 294, "dropped": {"decode": {"latest": 6}}}
    found = figures(make_record(table, rows))
    assert found.bottleneck == "camera"
    assert re.search(
        r"the line keeps up but for 2\.\d% of the frames, which came close together or while "
        r"something else ran; the busiest stage, inference, works \d\d% of the time",
        found.limit,
    )


def test_stage_that_is_idle_at_times_and_yet_gives_frames_up_saves_what_it_costs():
    uneven = {"times_ms": (1.0, 1.0, 3.0, 1.0, 1.0), "jitter": 18.0, "depths": (1,) * 5}
    found = figures(camera(**uneven, period_ms=32.0, frames=600))
    assert found.stages[3].held_ms < 32 < 1e3 / found.delivered_fps
    saved = 1e3 / found.delivered_fps - 1e3 / found.what_if[3].fps
    assert f"saves up to {saved:.1f} ms a frame" in the_one(found.advice, "inference")


def test_gain_of_a_stage_is_the_bound_without_it():
    found = figures(camera(times_ms=SLOW))
    sentence = the_one(found.advice, "inference")
    bound = {each.stage: each.fps for each in found.what_if}["inference"]
    assert re.search(r"at most ([\d.]+) fps", sentence)[1] == f"{bound:.1f}"


@pytest.mark.parametrize("times_ms", [QUICK, (33.0, 33.0, 33.0, 33.0, 33.0)])
def test_no_stage_is_told_where_the_camera_sets_the_rate(times_ms):
    advice = said(camera(times_ms=times_ms, jitter=0.0))
    for stage in STAGES:
        assert_none(advice, stage)


def test_no_stage_is_told_where_another_is_as_slow():
    advice = said(crowded_record((10.0,) * 5, cores=8, jitter=0.0))
    for stage in STAGES:
        assert_none(advice, stage)


def test_batches_are_told_with_the_stage():
    record = camera(
        times_ms=(3, 2, 200, 1, 1), policies=BLOCK, depths=(4,) * 5, batch=4, jitter=0.0
    )
    sentence = the_one(said(record), "inference")
    assert re.match(r"inference 50\.\d ms a frame in batches of up to 4 on one core: ", sentence)


def test_unit_that_the_thread_waits_for_is_no_core():
    cpu_ms, wait_ms = (3.0, 2.0, 1.0, 5.0, 1.0), (0.0, 0.0, 20.0, 0.0, 0.0)
    sentence = the_one(
        said(crowded_record(cpu_ms, wait_ms=wait_ms, cores=8, jitter=0.0)), "inference"
    )
    assert sentence.startswith("inference 21.0 ms a frame, of which its thread computes 1.0 ms")


def test_sink_that_blocks_is_told():
    cpu_ms, wait_ms = (3.0, 2.0, 5.0, 4.0, 2.0), (0.0, 0.0, 0.0, 0.0, 43.0)
    found = figures(crowded_record(cpu_ms, wait_ms=wait_ms, cores=8, jitter=0.0))
    sentence = the_one(found.advice, "the sink blocks")
    assert "45.0 ms a frame, of which its thread computes 2.0 ms" in sentence
    assert "at most 200.0 fps instead of" in sentence
    assert_none(found.advice, "sink ")


def test_sink_that_computes_does_not_block():
    advice = said(crowded_record((3.0, 2.0, 5.0, 4.0, 45.0), cores=8))
    assert_none(advice, "the sink blocks")
    the_one(advice, "sink 4")


def test_long_queue_is_told_with_the_latency_it_costs():
    run = {"times_ms": (3.0, 2.0, 30.0, 5.0, 1.0), "period_ms": 10.0, "jitter": 0.0}
    found = figures(camera(policies=BLOCK, depths=(2, 2, 16, 2, 2), **run))
    sentence = the_one(found.advice, "frames wait")
    inference = found.stages[3]
    waits, saved = inference.wait.mean_ms, inference.wait.mean_ms - 2 * inference.held_ms
    assert sentence == (
        f"frames wait {waits:.0f} ms in the queue before inference (block, depth 16): use latest "
        f"or depth 2, saves up to {saved:.0f} ms of {found.latency.mean_ms:.0f} ms latency"
    )
    assert saved > 300
    shorter = figures(camera(policies=BLOCK, **run))
    assert 0.8 * saved < found.latency.mean_ms - shorter.latency.mean_ms <= saved


def test_queue_of_a_file_is_made_shorter_and_gives_nothing_up():
    record = crowded_record((3.0, 2.0, 30.0, 5.0, 1.0), cores=8, depth=16)
    sentence = the_one(said(record), "frames wait")
    assert "(block, depth 16): use depth 2, saves" in sentence


@pytest.mark.parametrize(
    ("policies", "depths"), [(("latest",) * 5, (16,) * 5), (BLOCK, (2,) * 5), (BLOCK, (16,) * 5)]
)
def test_queue_that_is_short_or_empty_is_not_told(policies, depths):
    times_ms = QUICK if policies == BLOCK and depths[0] > 2 else SLOW
    assert_none(said(camera(times_ms=times_ms, policies=policies, depths=depths)), "frames wait")


def test_cores_that_are_full_are_told():
    found = figures(crowded_record((9.0, 4.0, 8.0, 7.0, 6.0), cores=2))
    sentence = the_one(found.advice, "the stages take")
    assert sentence.startswith("the stages take 2.0 of 2 cores: CPU-bound: 3")
    assert "of processor time for each frame delivered, at most " in sentence
    assert found.limit.endswith("; the stages take 2.0 of 2 cores: CPU-bound")


@pytest.mark.parametrize("cores", [4, 8])
def test_cores_that_are_not_full_are_not_told(cores):
    advice = said(crowded_record((9.0, 1.0, 2.0, 2.0, 2.0), cores=cores))
    assert_none(advice, "the stages take")


def placed(record, name, core):
    """The record with a stage on other cores."""
    stages = tuple(
        replace(stage, core=np.where(stage.core >= 0, core, -1)) if stage.name == name else stage
        for stage in record.stages
    )
    return replace(record, stages=stages, cores=6)


@pytest.fixture(scope="module")
def uneven():
    """A run whose inference takes 40 to 80 ms."""
    return camera(times_ms=(9.0, 2.0, 40.0, 5.0, 1.0), jitter=1.0, frames=900)


def taken_ms(record, name):
    stage = record.stage(name)
    return (stage.end_ns - stage.start_ns) / MS


def test_slow_cores_are_told_with_the_quick_ones(uneven):
    took_ms, number = taken_ms(uneven, "inference"), uneven.number
    core = np.where(took_ms < 60, 4 + number % 2, number % 4)
    sentence = the_one(said(placed(uneven, "inference", core)), "inference takes")
    assert re.fullmatch(
        r"inference takes (4\d|5\d)\.\d ms on cores 4-5 and (6|7)\d\.\d ms on cores 0-3: place it "
        r"on 4-5, saves up to \d+\.\d ms each time", sentence
    )  # fmt: skip


def test_cores_that_are_as_quick_are_not_told(uneven):
    advice = said(placed(uneven, "inference", uneven.number % 6))
    assert_none(advice, "inference takes")
    assert_none(advice, "inference shares")


def beside(record, which):
    """The record with decode on inference's core during some of its works, else on core 0."""
    decode, inference = record.stage("decode"), record.stage("inference")
    order = np.argsort(np.where(which, inference.start_ns, -1))
    starts = np.where(which, inference.start_ns, -1)[order]
    ends = inference.end_ns[order]
    at = np.maximum(np.searchsorted(starts, decode.start_ns, side="right") - 1, 0)
    met = (starts[at] > 0) & (decode.start_ns < ends[at])
    return placed(placed(record, "decode", np.where(met, 2, 0)), "inference", 2)


def test_stages_that_slow_inference_down_are_told(uneven):
    record = beside(uneven, taken_ms(uneven, "inference") > 60)
    sentence = the_one(said(record), "inference shares its cores with decode: ")
    assert re.search(r"[67]\d\.\d ms where they meet, [45]\d\.\d ms where not", sentence)
    assert re.search(r"place it on 4-5, saves up to \d+\.\d ms each time", sentence)


def test_stages_that_do_not_slow_it_down_are_not_told(uneven):
    record = beside(uneven, (uneven.number % 2 == 0) & (uneven.stage("inference").start_ns > 0))
    assert_none(said(record), "inference shares")


def test_other_programs_that_have_the_cores_are_told():
    cpu_ms, wait_ms = (5.0, 1.0, 1.0, 1.0, 1.0), (15.0, 0.0, 0.0, 0.0, 0.0)
    record = crowded_record(cpu_ms, wait_ms=wait_ms, cores=2, jitter=0.0)
    # Of the 15 ms it may be the other stages that took 4.
    sentence = the_one(said(record), "decode waits for a core")
    assert sentence.startswith(
        "decode waits for a core for 11.0 ms of its 20.0 ms a frame, and not for other stages (the "
        "line takes 0.4"
    )


def test_stage_that_waits_beside_it_has_no_core():
    wait_ms = (15.0, 0.0, 18.0, 0.0, 0.0)
    record = crowded_record((5.0, 1.0, 1.0, 1.0, 1.0), wait_ms=wait_ms, cores=2, jitter=0.0)
    the_one(said(record), "decode waits for a core for 1")


@pytest.mark.parametrize(
    ("cpu_ms", "wait_ms", "cores"),
    [
        ((9.0, 4.0, 8.0, 7.0, 6.0), (0.0,) * 5, 1),  # they have each other's
        ((9.0, 4.0, 8.0, 7.0, 6.0), (0.0,) * 5, 2),
        ((5.0, 1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 15.0, 0.0, 15.0), 2),  # these wait for other things
    ],
)
def test_cores_that_nobody_else_has_are_not_told(cpu_ms, wait_ms, cores):
    advice = said(crowded_record(cpu_ms, wait_ms=wait_ms, cores=cores))
    assert not [sentence for sentence in advice if "waits for a core" in sentence]


def test_corrupt_frames_are_told():
    sentence = the_one(said(camera(corrupt=frozenset({5, 9, 11}))), "3 frames came corrupt (1.0%)")
    assert "cable" in sentence
    of_a_file = camera(source={"kind": "video"}, corrupt=frozenset({5, 9, 11}))
    sentence = the_one(said(of_a_file), "3 frames came corrupt")
    assert sentence.endswith(": see to the file; the first: a JPEG without its end")
    by_the_driver = replace(camera(corrupt=frozenset({5, 9, 11})), faults=())
    assert the_one(said(by_the_driver), "3 frames came corrupt").endswith("or the stream")
    assert_none(said(camera()), "3 frames")


def test_frames_that_a_stage_failed_on_are_told_with_the_words():
    sentence = the_one(said(camera(failed={7: "sink", 9: "sink"})), "2 frames failed")
    assert sentence == "2 frames failed in sink (0.7%): RuntimeError: drawn to fail"
    ended = replace(camera(failed={7: "sink"}), faults=("sink failed: OSError: disk full",))
    assert the_one(said(ended), "1 frame failed").endswith("(0.3%): OSError: disk full")
    of_both = said(camera(failed={7: "inference"}, corrupt=frozenset({5})))
    assert the_one(of_both, "1 frame failed").endswith(": RuntimeError: drawn to fail")
    assert the_one(of_both, "1 frame came corrupt").endswith("the first: a JPEG without its end")
    assert_none(said(camera(times_ms=SLOW)), "2 frames")


def test_frames_that_the_memory_limit_cost_are_told():
    table, rows = simulate(frames=300, times_ms=SLOW)
    rows = rows.copy()
    end = rows[:, COLUMNS.index("end")]
    count = int((end == ENDS.index("latest")).sum())
    end[end == ENDS.index("latest")] = ENDS.index("memory")
    table["counts"]["dropped"] = {"inference": {"memory": count}}
    sentence = the_one(
        said(make_record(table, rows)), f"{count} frames given up at the memory limit"
    )
    assert "limit of 256 MB" in sentence
    assert_none(said(camera(times_ms=SLOW)), f"{count} frames given up")


def test_most_worthwhile_advice_stands_first():
    advice = said(camera(away=((2000, 7000),), corrupt=frozenset({5})))
    assert [words.split(" ", 1)[0] for words in advice] == ["the", "1"]
    advice = said(camera(away=((2000, 2050),), corrupt=frozenset(range(50, 150))))
    assert [words.split(" ", 1)[0] for words in advice] == ["100", "the"]
