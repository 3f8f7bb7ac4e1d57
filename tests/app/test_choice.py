from dataclasses import replace

from edgekit.app.choice import choose, missed_goals, pareto, undecided_leaders
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


def test_a_missed_goal_is_named_and_the_best_is_told_all_the_same():
    slow = row("ncnn", p50=200.0)
    goals = (parse_goal("fps >= 10"), parse_goal("size_mb <= 1"))
    choice = choose([slow], goals)
    assert choice is not None
    assert choice.missed == ("fps >= 10",)
    assert missed_goals(slow, goals) == (goals[0],)


def test_goals_count_in_order_of_priority():
    small = row("ncnn", p50=200.0, size=1000)
    fast = row("onnxruntime", p50=10.0, size=9_000_000)
    goals = (parse_goal("size_mb <= 1"), parse_goal("fps >= 50"))
    assert choose([small, fast], goals).bundle == "bundle-ncnn"
    assert choose([small, fast], goals[::-1]).bundle == "bundle-onnxruntime"


DRIFT = (1.0, 1.4, 2.0, 1.2, 3.0)


def timed(engine, rounds_ms, drop=0.0):
    rounds = [[round(ms * 1e6)] * 3 for ms in rounds_ms]
    samples = tuple(ns for each in rounds for ns in each)
    plain = row(engine, p50=sorted(samples)[len(samples) // 2] / 1e6, drop=drop)
    counts = tuple(len(each) for each in rounds)
    measured = replace(plain.measurement, samples_ns=samples, rounds=counts)
    return replace(plain, measurement=measured)


def test_rounds_decide_what_is_a_tie():
    # Five per cent apart in every round: no tie, however much the device drifts meanwhile.
    fast = timed("ncnn", [10 * d for d in DRIFT], drop=0.009)
    slow = timed("onnxruntime", [10.5 * d for d in DRIFT])
    assert choose([fast, slow], ()).bundle == "bundle-ncnn"
    # Now one, now the other is quicker: a tie, and the more accurate wins.
    noisy = timed("onnxruntime", [10 * d for d in DRIFT[::-1]])
    choice = choose([fast, noisy], ())
    assert choice.bundle == "bundle-onnxruntime"
    assert "tie" in choice.reason


def test_leaders_that_noise_leaves_open_are_named_and_nobody_else():
    first = timed("ncnn", [10.0, 10.4, 9.7, 10.2, 9.9])
    near = timed("onnxruntime", [10.2, 10.1, 10.0, 9.8, 10.4])
    far = timed("mnn", [12.0, 12.5, 11.7, 12.2, 11.9])
    refused = replace(timed("tflite", [10.0, 10.5, 9.6, 10.2, 9.9]), status="gate")
    assert undecided_leaders([far, first, near, refused], ()) == (first, near)
    assert undecided_leaders([far, first, refused], ()) == ()
    # Equal to a hair: more rounds would tell nothing that matters.
    assert undecided_leaders([first, replace(first, bundle="bundle-other")], ()) == ()
    assert undecided_leaders([], ()) == ()
    assert undecided_leaders([row("ncnn", p50=1.0, emulated=True)], ()) == ()


def test_leaders_are_sought_among_those_that_reach_the_goals():
    fast = timed("ncnn", [10.0, 10.4, 9.7, 10.2, 9.9], drop=0.02)
    near = timed("onnxruntime", [10.2, 10.1, 10.0, 9.8, 10.4])
    assert undecided_leaders([fast, near], (parse_goal("drop <= 0.01"),)) == ()


def test_leaders_measured_longer_are_paired_with_others_where_they_stood_beside_them():
    fast = timed("ncnn", [10.0, 10.1, 9.9, 10.0, 10.1, 30.0, 31.0])
    slow = timed("onnxruntime", [10.5, 10.6, 10.4, 10.5, 10.6])
    assert choose([fast, slow], ()).bundle == "bundle-ncnn"
    assert "fastest" in choose([fast, slow], ()).reason


def test_who_was_decided_before_the_leaders_were_measured_longer_wins_no_tie():
    # As it happened: of two equals one met noise in the first rounds and won in the later ones.
    calm = timed("openvino", [20.0, 20.1, 19.9, 20.0, 20.2, *[20.0] * 10], drop=0.001)
    noisy = timed("tflite", [19.0, 45.0, 19.5, 44.0, 20.0, *[19.0] * 10], drop=0.001)
    slow = timed("ncnn", [30.0, 31.0, 30.5, 30.0, 30.2])
    leaders = [calm.candidate, noisy.candidate]
    assert choose([slow, calm, noisy], ()).bundle == "bundle-ncnn", "nothing to tell apart"
    assert choose([slow, calm, noisy], (), leaders).bundle == "bundle-tflite"
    # One that was found to be no different may win all the same.
    alike = timed("mnn", [19.0, 45.0, 19.5, 44.0, 20.0])
    assert choose([slow, calm, noisy, alike], (), leaders).bundle == "bundle-mnn"


def test_pareto_holds_the_fastest_the_smallest_and_the_most_accurate():
    fast = row("ncnn", p50=5.0, drop=0.009, size=3000)
    accurate = row("onnxruntime", p50=10.0, size=3000)
    small = row("mnn", p50=20.0, drop=0.005, size=900)
    beaten = row("openvino", p50=11.0, drop=0.001, size=4000)
    refused = row("tflite", p50=1.0, status="gate")
    assert pareto([fast, beaten, accurate, refused, small]) == (0, 2, 4)
