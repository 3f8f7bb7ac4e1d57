import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.errors import UsageError
from edgekit.core.goal import FIELDS, Goal, parse_goal
from edgekit.core.measurement import Accuracy, Latency, Measurement


def row(*, fps=None, p50=5.0, emulated=False, drop=None):
    latency = Latency(min=4, mean=p50, p50=p50, p90=6, p99=7, runs=10)
    return CandidateResult(
        Candidate("ncnn", "fp16"),
        "ok",
        size_bytes=2_000_000,
        measurement=Measurement(latency, None, fps, 50_000_000, 1.0, emulated),
        accuracy=None if drop is None else Accuracy("agreement", 1 - drop, 1.0, drop),
    )


@given(
    st.sampled_from(sorted(FIELDS)), st.sampled_from([">=", "<=", ">", "<"]), st.integers(0, 10**6)
)
def test_goal_survives_being_written_and_read(field, comparison, bound):
    goal = Goal(field, comparison, bound / 100)
    again = parse_goal(f" {goal.field}{goal.comparison} {goal.bound:.2f} ")
    assert again == goal


@pytest.mark.parametrize(
    ("text", "measured", "met"),
    [
        ("fps >= 10", row(fps=10.0), True),
        ("fps > 10", row(fps=10.0), False),
        ("fps >= 10", row(fps=None), None),
        ("latency_ms <= 5", row(), True),
        ("latency_ms <= 5", row(emulated=True), None),
        ("drop <= 0.01", row(drop=0.02), False),
        ("drop <= 0.01", row(), None),
        ("memory_mb < 50", row(), False),
        ("size_mb <= 2", row(), True),
    ],
)
def test_goal_judges_only_what_was_measured(text, measured, met):
    assert parse_goal(text).met_by(measured) is met


@pytest.mark.parametrize("text", ["", "fps", "fps = 3", "fps >= ten", "fps >= 3 and drop < 1"])
def test_goal_outside_the_grammar_is_refused(text):
    with pytest.raises(UsageError, match="not a goal"):
        parse_goal(text)


def test_unknown_field_names_the_near_one():
    with pytest.raises(UsageError) as caught:
        parse_goal("latency >= 3")
    assert "latency_ms" in (caught.value.hint or "")
