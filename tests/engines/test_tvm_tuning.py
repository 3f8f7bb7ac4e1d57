"""Tuning for real, on this machine: candidates built, timed, kept, and built by afterwards."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from tuning_records import make_record

from edgekit.app.bundles import feasible
from edgekit.app.scopes import scope_of
from edgekit.app.tune import TuneOptions, tune
from edgekit.app.tuned import tuned_engine, with_records
from edgekit.catalog.targets import load_target
from edgekit.core.candidate import Candidate
from edgekit.core.events import Note, ignore
from edgekit.engines import load_engine
from edgekit.engines.tvm.tuning import tvm_version
from edgekit.toolbox.build import build
from edgekit.tune.records import RECORDS_FILE, open_records
from edgekit.tune.session import Limits

TVM = load_engine("tvm")
TASKS = 5
TRIALS = 32


def test_version_is_the_one_that_builds():
    assert f"\napache-tvm=={tvm_version()} " in f"\n{TVM.toolbox.requirements.read_text()}"


def test_scope_of_an_emulated_board_is_no_real_one():
    target = load_target("rk3566")
    real, emulated = scope_of(target), scope_of(target, emulated=True)
    assert real != emulated
    assert real.fingerprint.mcpu == "cortex-a55"
    assert real.fingerprint.threads == 4
    assert "+dotprod" in real.fingerprint.features


def test_scope_of_counted_instructions_is_the_boards_own_hardware():
    target = load_target("rk3566")
    timed, counted = scope_of(target), scope_of(target, emulated=True, cost="instructions")
    assert counted == replace(timed, cost="instructions")


@pytest.mark.parametrize(
    ("kept", "emulated", "taken"),
    [
        (("seconds", "instructions", "own time"), True, "seconds"),
        (("instructions", "own time"), True, "instructions"),
        (("own time",), True, "own time"),
        (("seconds", "instructions"), False, "seconds"),
        (("instructions", "own time"), False, None),
    ],
)
def test_emulated_board_builds_by_time_then_by_instructions(
    kept, emulated, taken, tiny, monkeypatch, tmp_path
):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path))
    monkeypatch.setattr("edgekit.app.tuned.tasks_of", lambda *_, **__: ("hash-conv",))
    target = load_target("rk3566")
    scopes = {
        "seconds": scope_of(target),
        "instructions": scope_of(target, cost="instructions"),
        "own time": scope_of(target, emulated=True),
    }
    with open_records(tmp_path / RECORDS_FILE) as records:
        for name in kept:
            records.append(make_record(scope=scopes[name], trace=name))
    engine = tuned_engine(TVM, tiny, "fp32", target, emulated=emulated, emit=ignore)
    if taken is None:
        assert engine is None
    else:
        assert json.loads(engine._records_json)["hash-conv"]["trace"] == taken


def test_scope_of_this_machine_names_its_cpu():
    assert scope_of(load_target("local")).fingerprint.mcpu.startswith("native: ")


def test_engine_without_records_is_not_tuned(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "none"))
    target = load_target("local")
    found = tuned_engine(TVM, tiny, "fp32", target, emulated=False, emit=ignore)
    assert found is None
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.toolbox
@pytest.mark.network
def test_tune_then_build_applies_every_record(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / "records"))
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    target = load_target("local")
    options = TuneOptions(str(tiny.onnx.path), "local", ("local",), Limits(trials=TRIALS))
    report = tune(options)
    assert (report.tuned.stop, report.tuned.trials) == ("trials", TRIALS)
    assert report.tuned.failures == 0
    assert len(report.tuned.tasks) == TASKS
    assert math.isfinite(report.tuned.cost)
    costliest = report.tuned.tasks[0]
    assert costliest.best < costliest.bests[0], "the search found nothing better than its first"

    again = tune(TuneOptions(str(tiny.onnx.path), "local", ("local",), Limits(trials=4)))
    assert again.tuned.trials == 4
    assert again.tuned.cost <= report.tuned.cost, "it did not go on from the records"

    engine = tuned_engine(TVM, tiny, "fp32", target, emulated=False, emit=ignore)
    files = build(engine, tiny, "fp32", target, emit=ignore)
    (facts,) = [json.loads(file.source.read_text()) for file in files if file.path == "model.json"]
    assert (facts["tasks"], facts["untuned"]) == (TASKS, 0)

    # From elsewhere: one that TVM cannot read, one that it reads and that does not apply.
    here = scope_of(target)
    with open_records(tmp_path / "records" / RECORDS_FILE) as records:
        for task, spoil in zip(
            report.tuned.tasks,
            (lambda trace: "[[],[]]", lambda trace: trace.replace('"main"', '"nowhere"')),
            strict=False,
        ):
            (good,) = records.top(here, task.structural_hash, 1)
            records.append(replace(good, trace=spoil(good.trace), costs=(1e-12,)))
    notes = []
    engine = tuned_engine(TVM, tiny, "fp32", target, emulated=False, emit=ignore)
    files = build(engine, tiny, "fp32", target, emit=notes.append)
    (facts,) = [json.loads(file.source.read_text()) for file in files if file.path == "model.json"]
    assert (facts["tasks"], facts["untuned"]) == (TASKS, 2)
    assert any("2 tuning records do not apply" in getattr(note, "text", "") for note in notes)
    onward = tune(TuneOptions(str(tiny.onnx.path), "local", ("local",), Limits(trials=4)))
    assert onward.tuned.trials == 4


@pytest.mark.parametrize("in_the_way", ["records.sqlite", ".records.sqlite.lock"])
def test_records_that_cannot_be_used_are_told_of_and_cost_no_race(
    tiny, facts, monkeypatch, tmp_path, in_the_way
):
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path))
    (tmp_path / "records.sqlite").touch()
    (tmp_path / in_the_way).unlink(missing_ok=True)
    (tmp_path / in_the_way).mkdir()
    target = load_target("local")
    plan = feasible(Candidate("tvm", "fp32", ()), tiny, target, facts())
    events = []
    assert with_records(plan, tiny, target, emulated=False, emit=events.append) is None
    assert [type(event) for event in events] == [Note]
    assert "tuning records are not used" in events[0].text


@pytest.mark.slow
@pytest.mark.toolbox
@pytest.mark.network
def test_killed_and_interrupted_tunes_go_on_and_try_nothing_twice(tiny, tmp_path):
    def run(trials, until=0, number=None):
        """Tune; send a signal once ``until`` trials were told of; return status and trials."""
        command = ["-m", "edgekit", "tune", str(tiny.onnx.path), "-t", "local", "-d", "local"]
        process = subprocess.Popen(
            [sys.executable, *command, "--trials", str(trials), "--json"],
            env={
                **os.environ,
                "EDGEKIT_RECORDS_DIR": str(tmp_path / "records"),
                "EDGEKIT_DEVICE_ROOT": str(tmp_path / "device"),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        told = 0
        for line in process.stdout:
            event = json.loads(line)
            if (event.get("event"), event.get("step")) == ("step_progress", "tune"):
                told = event["done"]
            if number is not None and told >= until:
                process.send_signal(number)
                number = None
        process.stdout.close()
        return process.wait(), told

    def traces():
        with open_records(tmp_path / "records" / RECORDS_FILE) as records:
            return [trial.trace for trial in records.trials(scope_of(load_target("local")))]

    status, told = run(60, 6, signal.SIGKILL)
    assert status == -signal.SIGKILL
    first = traces()
    assert len(first) >= told >= 6
    status, told = run(60, 8, signal.SIGINT)
    assert status == 130
    second = traces()
    assert len(second) >= len(first) + told
    assert run(4) == (0, 4)
    assert len(traces()) == len(second) + 4
    assert len(set(traces())) == len(second) + 4
