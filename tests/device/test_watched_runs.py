"""Runs that the agent watches: the device's state and its power, around a real process."""

import os
import threading
import time

import pytest
from device_life import deliver
from sampler_loops import compiled_sampler

import device_agent.watch
from device_agent.power.rail import ENERGY, Rail
from device_agent.power.sampler import Series
from device_agent.probe import Roots
from device_agent.protocol import VerbError
from device_agent.watch import Watch as AgentWatch
from device_agent.watch import _mean_uw
from edgekit.core.errors import AgentError
from edgekit.device import RunRequest, Watch


def test_run_that_is_not_watched_tells_nothing(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    result = device.run(bundle.identity, RunRequest("infer", ()))
    assert result.health == ()
    assert result.power is None


def test_watched_run_is_seen_before_during_and_after(device, workshop):
    bundle = workshop.bundle("busy")
    deliver(device, bundle)
    request = RunRequest("infer", (), watch=Watch(period_s=0.3))
    seen = device.run(bundle.identity, request).health
    # Before, at least two while the runner takes 1.2 s of a core, and after.
    assert len(seen) >= 4
    times_ns = [snapshot.monotonic_ns for snapshot in seen]
    assert times_ns == sorted(times_ns)
    assert times_ns[-1] - times_ns[0] >= 1.2e9
    own_s = [snapshot.load.own_s for snapshot in seen]
    # Its work counts as our own while it runs, and once it is gone.
    assert own_s == sorted(own_s)
    assert own_s[-2] - own_s[0] > 0.3
    assert own_s[-1] - own_s[0] > 1.1
    # Those of another group are not ours: this process's are not.
    assert own_s[-1] < seen[-1].load.busy_s


def test_power_that_is_asked_for_comes_with_what_is_not_used(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    watch = Watch(power_hz=50, idle_s=0.1)
    result = device.run(bundle.identity, RunRequest("infer", (), watch=watch))
    assert result.power is not None
    assert isinstance(result.power["refused"], list)


def test_watch_that_cannot_be_is_refused(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    for wrong in (Watch(period_s=0), Watch(power_hz=1e6), Watch(idle_s=-1)):
        with pytest.raises(AgentError, match="must lie between"):
            device.run(bundle.identity, RunRequest("infer", (), watch=wrong))
    # The device serves on.
    assert device.run(bundle.identity, RunRequest("infer", ())).answers == ()


@pytest.fixture
def roots(tmp_path):
    """Make kernel's trees with one INA226 that reads 2.5 W."""
    chip = tmp_path / "sys/class/hwmon/hwmon3"
    (chip / "device").mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")
    (tmp_path / "proc").mkdir()
    return Roots(proc=str(tmp_path / "proc"), sys=str(tmp_path / "sys"))


def test_power_is_read_idle_before_and_after_and_by_a_thread_between(roots, tmp_path):
    with AgentWatch({"power_hz": 100, "idle_s": 0.2}, roots) as watch:
        threads = threading.active_count()
        watch.before()
        # Nobody but the caller runs while the runner is forked.
        assert threading.active_count() == threads
        watch.during(os.getpgrp())
        assert threading.active_count() == threads + 1
        watch.tick()
        watch.after()
        assert threading.active_count() == threads
        watch.write(str(tmp_path))
        power = watch._power.as_json()
    series = power["series"][0]
    assert set(series["values"]) == {2500000}
    for name in ("idle_before_ns", "idle_after_ns"):
        began, ended = power[name]
        assert 0.2e9 <= ended - began < 60e9
    assert series["start_ns"] >= power["idle_before_ns"][0]
    assert power["idle_before_ns"][1] <= power["idle_after_ns"][0]


def loop_of(roots, library):
    with AgentWatch({"power_hz": 100, "idle_s": 0.05}, roots, None, library) as watch:
        watch.before()
        return watch._power.as_json()["loop"]


def test_library_that_is_not_what_was_sent_leaves_the_loop_to_python(roots, tmp_path):
    path, sha256 = compiled_sampler(tmp_path)
    assert loop_of(roots, (path, sha256)) == "c"
    assert loop_of(roots, (path, "0" * 64)) == "python"
    assert loop_of(roots, (str(tmp_path / "absent"), sha256)) == "python"
    assert loop_of(roots, None) == "python"


def test_looks_are_told_at_once_where_that_is_asked_for(device, workshop):
    bundle = workshop.bundle("busy")
    deliver(device, bundle)
    heard = []
    request = RunRequest("infer", (), watch=Watch(period_s=0.3, tell=True))
    seen = device.run(bundle.identity, request, listen=heard.append).health
    told = [event for event in heard if event["event"] == "device"]
    # All but the first and the last look, which are before and after the run.
    assert [event["at_ns"] for event in told] == [each.monotonic_ns for each in seen[1:-1]]
    assert {event["phase"] for event in told} == {"power"}
    silent = RunRequest("infer", (), watch=Watch(period_s=0.3))
    heard.clear()
    device.run(bundle.identity, silent, listen=heard.append)
    assert not [event for event in heard if event["event"] == "device"]


@pytest.mark.parametrize("loop", ["c", "python"])
def test_told_power_is_each_rails_mean_since_the_look_before(roots, tmp_path, loop):
    heard = []
    library = compiled_sampler(tmp_path) if loop == "c" else None
    # Longer than C stays away: each look finds readings.
    wanted = {"power_hz": 200, "period_s": 0.4, "tell": True}
    with AgentWatch(wanted, roots, heard.append, library) as watch:
        watch.before()
        watch.during(os.getpgrp())
        while len(heard) < 2:
            watch.tick()
            time.sleep(0.01)
        (tmp_path / "sys/class/hwmon/hwmon3/power1_input").write_text("4500000\n")
        while len(heard) < 4:
            watch.tick()
            time.sleep(0.01)
        watch.after()
    assert watch._power.as_json()["loop"] == loop
    rails = [event["rails"] for event in heard]
    assert [len(each) for each in rails[1:]] == [1, 1, 1]
    told = {name: rails[1][0][name] for name in ("source", "scope", "within", "mw")}
    assert told == {"source": "hwmon", "scope": "rail", "within": None, "mw": 2500}
    assert rails[1][0]["sensor"].startswith("ina226")
    assert 2500 < rails[2][0]["mw"] <= 4500
    assert rails[3][0]["mw"] == 4500


def test_told_power_of_a_counter_of_energy_survives_its_turning_over():
    rail = Rail("rapl", "package-0", "package-0", "rail")
    rail.quantity, rail.range_uj = ENERGY, 1_000_000
    series = Series(rail)
    for at_s, uj in ((1, 600_000), (2, 900_000), (3, 200_000)):
        series.times_ns.append(at_s * 10**9)
        series.values.append(uj)
    assert _mean_uw(series, 0, 2) == 300_000
    assert _mean_uw(series, 1, 3) == 300_000


def test_thread_ends_with_a_run_that_breaks(roots):
    before = threading.active_count()

    def cancelled():
        with AgentWatch({"power_hz": 100}, roots) as watch:
            watch.before()
            watch.during(os.getpgrp())
            raise VerbError("cancelled", "the host ended the run")

    with pytest.raises(VerbError):
        cancelled()
    assert threading.active_count() == before


def test_snapshots_of_a_long_run_are_bounded(roots, monkeypatch):
    monkeypatch.setattr(device_agent.watch, "_MOST_SNAPSHOTS", 3)
    with AgentWatch({"period_s": 0.1}, roots) as watch:
        watch.before()
        for _ in range(50):
            watch._due = 0
            watch.tick()
        watch.after()
        # What ended it is always told.
        assert len(watch._seen) == 4
