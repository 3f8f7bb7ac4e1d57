"""What is said of a source stands where the figures support it, and nowhere else."""

import pytest
from camera_records import COLUMNS, MS, simulate
from camera_words import BLOCK, QUICK, SLOW, assert_none, camera, said, the_one

from edgekit.camera.figures import figures
from edgekit.camera.record import make_record


def test_exposure_that_caps_the_rate_is_told():
    sentence = the_one(said(camera({"exposure_ns": 33_000_000})), "capture waits")
    assert "exposure 33.0 ms caps at 30.3 fps" in sentence
    bound = figures(camera()).what_if[0].fps
    assert f"allows at most {bound:.1f} fps instead of 30.0" in sentence


@pytest.mark.parametrize(
    ("exposure_ms", "times_ms"), [(10, QUICK), (33, SLOW), (33, (3.0, 2.0, 33.0, 5.0, 1.0))]
)
def test_exposure_that_caps_nothing_is_not(exposure_ms, times_ms):
    record = camera({"exposure_ns": exposure_ms * MS}, times_ms=times_ms)
    assert_none(said(record), "capture waits")


MODES = {"offered": ["YUYV 1280x720 25, 10 fps", "MJPG 640x480 60 fps", "MJPG 1280x720 60, 30 fps",
                     "NV12 48x32..1920x1080 1..60 fps"]}  # fmt: skip


def test_mode_that_offers_no_more_is_told_and_one_that_does():
    sentence = the_one(said(camera(MODES, period_ms=40.2), fps=60.0), "the camera delivers")
    assert sentence.startswith(
        "the camera delivers 24.9 fps, asked for 60: this mode (YUYV 1280x720) offers no more than "
        "25; MJPG 1280x720 does; at most 60.0 fps instead of"
    )


def test_camera_that_gives_less_than_its_mode_offers_is_told():
    modes = {"offered": ["YUYV 1280x720 60, 25 fps"]}
    sentence = the_one(said(camera(modes, period_ms=40.2), fps=60.0), "the camera delivers")
    assert (
        "which this mode (YUYV 1280x720) offers: exposure in dim light, or a full bus" in sentence
    )
    dark = camera(modes | {"exposure_ns": 40_000_000}, period_ms=40.2)
    assert_none(said(dark, fps=60.0), "the camera delivers")
    the_one(said(dark, fps=60.0), "capture waits")


def test_camera_that_tells_no_modes_is_not_judged_by_them():
    sentence = the_one(
        said(camera({"offered": []}, period_ms=40.2), fps=60.0), "the camera delivers"
    )
    assert sentence.startswith("the camera delivers 24.9 fps, asked for 60; at most")


@pytest.mark.parametrize(("asked", "times_ms"), [(0, QUICK), (25, QUICK), (60, SLOW)])
def test_camera_that_gives_what_was_asked_or_more_than_is_taken_is_not_told(asked, times_ms):
    advice = said(camera(MODES, period_ms=40.2, times_ms=times_ms), fps=asked)
    assert_none(advice, "the camera delivers")


def test_frames_lost_while_the_line_held_the_camera_up_are_the_lines():
    record = camera(times_ms=SLOW, policies=BLOCK)
    sentence = the_one(said(record), f"the driver lost {record.counts.lost} frames")
    assert "no buffer was free: use latest before decode" in sentence


def test_frames_lost_while_undecoded_ones_held_all_buffers_are_the_lines():
    slow = {"times_ms": (80.0, 1.0, 1.0, 1.0, 1.0), "policies": ("drop-oldest",) * 5}
    calm = camera(**slow, depths=(8,) * 5)
    lost = [[int(at_ns), 2, "driver"] for at_ns in calm.arrived_ns[200:206]]
    record = camera({"buffers": 6}, lost, **slow, depths=(8,) * 5)
    sentence = the_one(said(record), "the driver lost 12 frames (3.8%)")
    assert "no buffer was free: raise the driver's buffers, let fewer than 8 wait" in sentence
    plenty = camera({"buffers": 32}, lost, **slow, depths=(8,) * 5)
    assert "no buffer was free" not in the_one(said(plenty), "the driver lost")


@pytest.mark.parametrize("first", [0, 2**32 - 104])  # the numbers begin again in the gap
def test_frames_lost_while_nobody_read_them_are_the_boards(first):
    table, rows = simulate(frames=300, times_ms=QUICK)
    sequence, captured = COLUMNS.index("sequence"), COLUMNS.index("captured_ns")
    rows[100:, sequence] += 7
    rows[:, sequence] = (rows[:, sequence] + first) % 2**32
    table["lost"] = [[int(rows[100, captured + 1]) + 50_000, 7, "driver"]]
    table["counts"]["lost"] = 7
    advice = said(make_record(table, rows))
    assert "took all it was given" in the_one(advice, "the driver lost 7 frames")
    rows[100, captured] -= 100 * MS  # it was old when it was read at last
    sentence = the_one(said(make_record(table, rows)), "the driver lost 7 frames")
    assert "no buffer was free: raise" in sentence
    assert sentence.endswith("or leave a core to the thread that reads")


def test_frames_lost_while_the_line_was_idle_are_not():
    at_ns = int(camera().arrived_ns[100])
    sentence = the_one(
        said(camera({"buffers": 6}, [[at_ns, 1, "driver"]])), "the driver lost 1 frame "
    )
    assert sentence.endswith("while the line took all it was given: see to the bus and the camera")


def test_no_lost_frames_are_told_where_none_were():
    assert_none(said(camera(times_ms=SLOW)), "the driver lost")


def test_source_that_was_away_is_told_with_what_it_would_have_given():
    sentence = the_one(said(camera(away=((3000, 6200),))), "the source was away")
    assert sentence == "the source was away 3.2 s (no such device): about 96 frames at its rate"
    twice = the_one(said(camera(away=((3000, 4000), (6000, 6100)))), "the source was away")
    assert twice.startswith("the source was away 1.1 s in 2 times")
    assert_none(said(camera()), "the source was away")
