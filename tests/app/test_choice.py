from edgekit.app.choice import choose, missed_goals
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.goal import parse_goal
from edgekit.core.measurement import Accuracy, Latency, Measurement, OutputError


def row(engine, *, p50, drop=0.0, size=1000, status="ok", emulated=False, max_abs=1e-5):
    latency = Latency(min=p50, mean=p50, p50=p50, p90=p50, p99=p50, runs=30)
    fps = None if emulated else 1000 / p50
    return CandidateResult(
        Candidate(engine, "fp32"),
        status,
        size_bytes=size,
        measurement=Measurement(latency, None, fps, 1, 1.0, emulated),
        accuracy=Accuracy("agreement", 1 - drop, 1.0, drop),
        error=OutputError(max_abs, max_abs, 1.0),
        bundle=f"bundle-{engine}",
    )


def test_fastest_wins_and_says_by_how_much():
    choice = choose([row("ncnn", p50=20.0), row("onnxruntime", p50=10.0)], ())
    assert choice is not None
    assert choice.bundle == "bundle-onnxruntime"
    assert "2.00x the speed of ncnn fp32" in choice.reason


def test_tie_goes_to_the_more_accurate():
    choice = choose([row("ncnn", p50=10.0, drop=0.005), row("onnxruntime", p50=10.2)], ())
    assert choice is not None
    assert choice.bundle == "bundle-onnxruntime"
    assert "tie" in choice.reason


def test_tie_of_equals_goes_to_the_smaller():
    choice = choose([row("ncnn", p50=10.0, size=900), row("onnxruntime", p50=10.0)], ())
    assert choice is not None
    assert choice.bundle == "bundle-ncnn"


def test_emulated_speed_is_not_judged():
    fast = row("ncnn", p50=1.0, drop=0.009, emulated=True)
    accurate = row("onnxruntime", p50=900.0, emulated=True)
    choice = choose([fast, accurate], ())
    assert choice is not None
    assert choice.bundle == "bundle-onnxruntime"
    assert "emulated" in choice.reason


def test_only_rows_that_passed_are_eligible():
    assert choose([row("ncnn", p50=1.0, status="gate")], ()) is None
    assert choose([], ()) is None


def test_missed_goal_excludes():
    slow = row("ncnn", p50=200.0)
    goals = (parse_goal("fps >= 10"), parse_goal("size_mb <= 1"))
    assert choose([slow], goals) is None
    assert missed_goals(slow, goals) == (goals[0],)
