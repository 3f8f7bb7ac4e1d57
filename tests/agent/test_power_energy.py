"""From a sensor's file to joules: the sampler's record through the host's arithmetic."""

import itertools
import json
import os
import time

import pytest

from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler
from edgekit.bench.energy import Interval, Limits, PowerSamples, energy_of
from edgekit.core.errors import MeasurementInvalidError


@pytest.fixture
def sensor(tmp_path):
    """A sensor of 3.125 W, the sampler that reads it, and how to set it to something else."""
    path = tmp_path / "power1_input"
    path.write_text("3125000\n")
    rail = Rail("hwmon", "ina226 0-0040", "VIN").reads([str(path)])
    rail.open()
    number = os.open(path, os.O_WRONLY)
    # One call, over text of the same length: the file is never half written.
    yield Sampler([rail], rate_hz=100), lambda text: os.pwrite(number, text, 0)
    os.close(number)
    rail.close()


def samples_of(sampler):
    (series,) = json.loads(json.dumps(sampler.as_json()))["series"]
    times = itertools.accumulate([series["start_ns"], *series["steps_ns"]])
    return PowerSamples(tuple(times), tuple(series["values"]))


def test_step_set_in_mid_run_gives_the_analytic_energy(sensor):
    sampler, put = sensor
    sampler.start()
    time.sleep(0.5)
    before_ns = time.monotonic_ns()
    put(b"6250000\n")
    after_ns = time.monotonic_ns()
    time.sleep(0.5)
    sampler.stop()
    samples = samples_of(sampler)
    interval = Interval(samples.times_ns[0] + 1, samples.times_ns[-1] - 1)
    energy = energy_of(samples, interval, Limits(max_gap_s=60))
    step_s = ((before_ns + after_ns) / 2 - interval.start_ns) / 1e9
    analytic_j = 3.125 * step_s + 6.25 * (interval.seconds - step_s)
    # Where this machine stalls, the gap about the step grows, and what is stated grows with it.
    open_j = 3**0.5 * energy.sampling_sd_j + 3.125 * (after_ns - before_ns) / 1e9
    assert abs(energy.joules - analytic_j) <= max(0.02 * analytic_j, open_j)


def test_sensor_that_turns_to_garbage_in_mid_run_gives_no_energy(sensor):
    sampler, put = sensor
    sampler.run(seconds=0.15)
    put(b"garbage\n")
    sampler.run(seconds=0.15)
    put(b"3125000\n")
    sampler.run(seconds=0.05)
    samples = samples_of(sampler)
    interval = Interval(samples.times_ns[0], samples.times_ns[-1])
    assert sampler.series[0].faults["garbage"]["count"] >= 1
    with pytest.raises(MeasurementInvalidError, match="no reading for"):
        energy_of(samples, interval, Limits(max_gap_s=0.1))
