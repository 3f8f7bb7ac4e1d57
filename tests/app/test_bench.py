"""Which runs a bench asks for, and which of them its figures are of."""

from types import SimpleNamespace

import pytest

from edgekit.app.bench import _Measuring
from edgekit.app.bench_options import BenchOptions
from edgekit.app.bench_subjects import Ready
from edgekit.core.bench import Subject
from edgekit.core.errors import RunnerError
from edgekit.core.events import Note, ignore
from edgekit.core.health import HealthSnapshot, Load
from edgekit.device import RunResult

S = 1_000_000_000


def record(**rail):
    facts = {"source": "pmic", "sensor": "pmic", "label": "all", "scope": "rail", **rail}
    series = {
        "rail": {**facts, "quantity": "power_uw"}, "start_ns": 0, "steps_ns": [S] * 3,
        "values": [1, 2, 3, 4], "longest_unchanged_ns": 0, "faults": {},
    }  # fmt: skip
    return {
        "rate_hz": 10, "rounds": 4, "missed_rounds": 0, "wall_s": 4.0, "cpu_s": 0.1,
        "series": [series], "refused": [],
    }  # fmt: skip


class Runs:
    """A device whose inferences take 20 ms, and 25 ms while its power is read."""

    def __init__(self, power, others_s=0):
        self.requests = []
        self._power = power
        self._others_s = others_s

    def run(self, request):
        self.requests.append(request)
        watched = request.watch.power_hz > 0
        took = (S // 40 if watched else S // 50,) * 200
        others = self._others_s if watched else 0
        looks = tuple(
            HealthSnapshot(at, load=Load(at / S + others * at / (9 * S), 9, at / S))
            for at in (0, 5 * S, 9 * S)
        )
        return RunResult(
            took, (), None, None, {}, (), (), 9 * S, (), {"model": (S, 5 * S)}, looks,
            self._power if watched else None,
        )  # fmt: skip

    def result(self, emit=ignore, **options):
        return self.results(self.run, emit=emit, **options)[0]

    def results(self, *runs, emit=ignore, **options):
        subject = Subject("net", "ncnn", "fp32", (), "b" * 64, "rpi5")
        device = SimpleNamespace(facts=SimpleNamespace(emulated=False))
        measuring = _Measuring(device, BenchOptions(budget_s=0.0, **options), emit)
        return measuring.results([Ready(subject, (), run) for run in runs])


def test_power_and_speed_are_of_one_run_where_reading_costs_nothing():
    runs = Runs(record())
    found = runs.result()
    assert [request.watch.power_hz for request in runs.requests] == [100]
    assert found.measurement.model.p50 == 25
    assert found.power is not None


def test_speed_is_measured_by_itself_where_reading_power_disturbs():
    runs = Runs(record(most_hz=10.0))
    found = runs.result()
    assert [request.watch.power_hz for request in runs.requests] == [100, 0]
    assert found.measurement.model.p50 == 20
    # The energy is of the run that it was read in.
    assert found.power is not None
    assert found.power.details["rails"][0]["label"] == "all"


def test_energy_of_a_run_that_is_not_believed_makes_the_result_so():
    found = Runs(record(most_hz=10.0), others_s=5).result()
    assert [reason.kind for reason in found.validity.reasons] == ["disturbed"]
    assert found.validity.reasons[0].text.startswith("while power was read: other programs")
    assert Runs(record(most_hz=10.0)).result().validity.valid


def test_no_power_is_read_where_none_is_asked_for():
    runs = Runs(None)
    found = runs.result(power_hz=0.0)
    assert [request.watch.power_hz for request in runs.requests] == [0]
    assert found.power is None


def test_owner_tells_what_a_rail_covers_and_hears_of_one_that_is_not_there():
    runs, told = Runs(record()), []
    runs.result(told.append, scopes=(("all", "board"), ("VIN", "board")))
    assert dict(runs.requests[0].watch.scopes) == {"all": "board", "VIN": "board"}
    (note,) = [event.text for event in told if isinstance(event, Note)]
    assert note == "no rail 'VIN' to be of scope board; there is all"


def test_candidate_that_fails_costs_the_others_nothing():
    runs, told = Runs(None), []

    def crash(_request):
        raise RunnerError("ncnn crashed")

    (found,) = runs.results(runs.run, crash, emit=told.append, power_hz=0.0)
    assert found.measurement.model.p50 == 20
    (note,) = [event.text for event in told if isinstance(event, Note)]
    assert note == "net ncnn fp32: failed: ncnn crashed"
    with pytest.raises(RunnerError, match="ncnn crashed"):
        runs.results(crash, crash, power_hz=0.0)


def test_soak_is_one_run_of_its_length():
    runs = Runs(record(most_hz=10.0))
    found = runs.result(soak_s=5.0)
    (request,) = runs.requests
    assert request.plan.min_seconds == 5
    assert not request.plan.end_to_end
    assert found.soak.initial_fps == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(
    ("meters", "idle_s", "seconds"),
    [
        ((), 3, 10),
        (("scpi:ASRL1::INSTR?MEAS:POW?",), 3, 10),
        (("command:./read-watts",), 6, 10),
        (("command:./read-watts", "command,rate=0.5:./read-watts"), 24, 24),
    ],
)
def test_slow_meter_is_given_time_for_the_readings_that_are_needed(meters, idle_s, seconds):
    options = BenchOptions(meters=meters)
    assert options.idle_for_s == idle_s
    assert options.plan(emulated=False).min_seconds == seconds
    told = BenchOptions(meters=meters, idle_s=1.0, seconds=2.0)
    assert (told.idle_for_s, told.plan(emulated=False).min_seconds) == (1, 2)
