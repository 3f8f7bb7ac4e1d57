import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.latency import disturbance, frames_per_second, percentile, summarise
from edgekit.core.errors import MeasurementInvalidError

SAMPLES = st.lists(st.integers(1, 10**12), min_size=1, max_size=200)


@given(SAMPLES, st.floats(0, 100))
def test_percentile_equals_numpy(samples, percent):
    expected = np.percentile(samples, percent)
    assert percentile(sorted(samples), percent) == pytest.approx(expected, rel=1e-9)


@given(SAMPLES)
def test_summary_is_ordered(samples):
    latency = summarise(samples)
    assert latency.min <= latency.p50 <= latency.p90 <= latency.p99
    assert latency.min <= latency.mean * (1 + 1e-12)
    assert latency.runs == len(samples)


@given(SAMPLES, st.randoms())
def test_summary_ignores_order_of_samples(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert summarise(shuffled) == summarise(samples)


def test_fps_is_runs_over_time():
    assert frames_per_second([10_000_000, 30_000_000]) == pytest.approx(50.0)


@pytest.mark.parametrize("samples", [[], [5, 0], [5, -3]])
def test_summary_refuses_what_measured_nothing(samples):
    with pytest.raises(MeasurementInvalidError):
        summarise(samples)


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_percentile_refuses_impossible_percentage(percent):
    with pytest.raises(ValueError, match="percentage"):
        percentile([1.0], percent)


def test_few_long_waits_are_called_a_disturbance():
    assert disturbance(summarise([1_000_000] * 50)) is None
    words = disturbance(summarise([1_000_000] * 50 + [100_000_000]))
    assert words is not None
    assert "median 1.00 ms" in words
