from dataclasses import replace

import pytest

from edgekit.core.camera import CameraFigures, Spread, StageFigures, WhatIf
from edgekit.report.camera import figure_lines, stage_table, stage_tables, what_if_table

TIME = Spread(40.0, 43.5, 44.04, 40.1)
STAGES = (
    StageFigures(
        name="camera", frames=900, rate_fps=30.0, time=Spread(4.0, 4.1, 4.2, 4.0), wait=None,
        blocked=None, depth_mean=0.0, depth_most=0, drops=(), cpu_share=0.012, busy_share=None,
        cores=(),
    ),
    StageFigures(
        name="inference", frames=748, rate_fps=24.9, time=TIME, wait=Spread(33.0, 60.0, 66.0, 35.2),
        blocked=Spread(0.0, 0.0, 0.1, 0.02), depth_mean=1.09, depth_most=2,
        drops=(("latest", 150), ("corrupt", 2)), cpu_share=0.9, busy_share=0.998,
        cores=((4, 0.6), (5, 0.395), (1, 0.005)), held_ms=40.1,
    ),
)  # fmt: skip
FIGURES = CameraFigures(
    seconds=30.0, captured=900, delivered=748, lost=12,
    dropped=(("inference", "latest", 150), ("inference", "corrupt", 2)),
    captured_fps=30.0, delivered_fps=24.9, latency=Spread(100.04, 126.0, 133.0, 101.0),
    closure=0.9987, away_s=0.0, stages=STAGES, bottleneck="inference",
    advice=("inference 40.1 ms a frame on one core: ...", "the driver lost 12 frames"),
    what_if=(WhatIf("camera", 24.9), WhatIf("inference", 30.0), WhatIf("sink", None)),
    limit="inference: 40.1 ms a frame on one core; it works 100% of the time", source_fps=30.4,
    cpu_cores=1.234, cores=4, warmup_s=1.0, warmup_frames=31, timed_frames=869,
)  # fmt: skip


def test_row_of_a_stage_has_its_times_rates_queue_and_drops():
    table = stage_table(FIGURES)
    camera, inference = (
        dict(zip((column.name for column in table.columns), row, strict=True)) for row in table.rows
    )
    assert inference == {
        "stage": "inference", "p50/p90/p99 ms": "40.0/43.5/44.0", "waits ms": "35.2",
        "held up ms": "0.0", "fps": "24.9", "busy": "100%", "CPU": "90%", "cores": "4,5",
        "frames": "748", "queue mean/most": "1.1/2", "dropped": "150 latest, 2 corrupt",
    }  # fmt: skip
    assert camera == {
        "stage": "camera", "p50/p90/p99 ms": "4.0/4.1/4.2", "waits ms": "-", "held up ms": "-",
        "fps": "30.0", "busy": "-", "CPU": "1%", "cores": "-", "frames": "900",
        "queue mean/most": "-", "dropped": "12 lost",
    }  # fmt: skip


def test_tables_of_stages_fit_a_terminal_and_hold_all_columns():
    slow = replace(STAGES[1], name="postprocess", time=Spread(1519.0, 1730.5, 1925.2, 1600.0))
    figures = replace(FIGURES, stages=(STAGES[0], slow))
    speed, rest = stage_tables(figures)
    for table in (speed, rest):
        # Drawn, a column takes one more than in plain text; drops may go on in another line.
        drawn = max(len(line) for line in table.plain().splitlines()) + len(table.columns) + 3
        assert drawn <= 80
    assert [each.name for each in speed.columns] == [
        "stage",
        "p50/p90/p99 ms",
        "waits ms",
        "held up ms",
        "fps",
        "busy",
    ]
    whole = stage_table(figures)
    assert (*speed.columns, *rest.columns[1:]) == whole.columns
    for row, first, second in zip(whole.rows, speed.rows, rest.rows, strict=True):
        assert row == (*first, *second[1:])
    assert stage_tables(figures.untimed()) == (stage_table(figures.untimed()),)


def test_lines_account_for_frames_time_and_limit():
    rates, latency = figure_lines(FIGURES)[1:3]
    assert rates == (
        "rates: captured 30.0 fps, delivered 24.9 fps; all times and rates are of 869 frames: the "
        "first 1.0 s (31 frames) are the warm-up"
    )
    assert latency == (
        "latency from capture to the sink's end: 100.0/126.0/133.0 ms; stages and waits are 99.9% "
        "of it"
    )
    assert figure_lines(FIGURES)[:1] + figure_lines(FIGURES)[3:] == (
        "frames: 900 captured = 748 delivered + 152 dropped; 12 more lost by the driver",
        "processor: 1.23 of 4 cores",
        "bottleneck: inference: 40.1 ms a frame on one core; it works 100% of the time",
        "advice: inference 40.1 ms a frame on one core: ...",
        "advice: the driver lost 12 frames",
    )


def test_losses_that_cannot_be_seen_are_no_losses_that_there_are_not():
    unseen = replace(FIGURES, lost=0, lost_unseen="rtsp gives no sequence numbers")
    line = "losses on the way to the pipeline are not seen: rtsp gives no sequence numbers"
    assert figure_lines(unseen)[1] == line
    assert line in figure_lines(unseen.untimed())


def test_lines_leave_out_what_there_is_nothing_to_say_of():
    bare = replace(
        FIGURES, lost=0, latency=None, closure=None, warmup_frames=0, advice=(), cpu_cores=None
    )
    assert figure_lines(bare) == (
        "frames: 900 captured = 748 delivered + 152 dropped",
        "rates: captured 30.0 fps, delivered 24.9 fps",
        "bottleneck: inference: 40.1 ms a frame on one core; it works 100% of the time",
    )


def test_source_that_was_away_is_told():
    assert figure_lines(replace(FIGURES, away_s=3.2))[1] == (
        "the source was away for 3.2 s of 30.0"
    )


def test_bounds_stand_beside_what_was_reached_where_they_are_worth_it():
    assert what_if_table(FIGURES).rows == (("inference", "30.0", "24.9"),)
    assert not any(line.startswith("what if") for line in figure_lines(FIGURES))
    idle = replace(FIGURES, what_if=(WhatIf("camera", 25.0), WhatIf("sink", None)))
    assert what_if_table(idle).rows == ()
    assert "what if: no stage alone" in "\n".join(figure_lines(idle))


def test_bounds_are_held_against_the_rate_while_the_source_was_there():
    away = replace(FIGURES, away_s=5.0, there_fps=29.9)
    assert what_if_table(away).rows == ()
    gains = replace(away, what_if=(WhatIf("camera", 50.0), WhatIf("sink", 30.0)))
    table = what_if_table(gains)
    assert table.rows == (("camera", "50.0", "29.9"),)
    assert table.title == "what if, while the source is there"


@pytest.mark.parametrize("word", ["fps", " ms", "busy", "CPU", "%"])
def test_emulated_run_shows_frames_drops_and_depths_and_no_speed(word):
    found = FIGURES.untimed()
    table = stage_table(found)
    assert [column.name for column in table.columns] == [
        "stage", "frames", "queue mean/most", "dropped"
    ]  # fmt: skip
    assert table.rows[1] == ("inference", "748", "1.1/2", "150 latest, 2 corrupt")
    lines = figure_lines(found)
    assert lines[0].startswith("frames: 900 captured = 748 delivered + 152 dropped")
    assert lines[-1].startswith("emulated: correctness only")
    assert word not in table.plain() + "\n".join(lines)
    assert what_if_table(found).rows == ()


def test_table_is_readable_as_plain_text():
    heading, camera, inference = stage_table(FIGURES).plain().splitlines()
    assert heading.split("  ")[0] == "stage"
    assert heading.index("dropped") == camera.index("12 lost") == inference.index("150 latest")
