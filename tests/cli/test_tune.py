"""``edgekit tune``: what it takes, and what it says in the end."""

import math
from dataclasses import replace
from pathlib import Path

import click
import pytest
from odd_onnx import unary
from tuning_records import SCOPE

from edgekit.app.tune import TuneReport
from edgekit.cli.commands.tune import Duration
from edgekit.cli.main import run
from edgekit.cli.views.tuning import tuning_facts, tuning_parts
from edgekit.tune.session import Tuned
from edgekit.tune.tasks import Task

CONV = Task("a", "conv", 3, 2e6, (math.inf, 4e-3, 1e-3))
COUNTED = Task("a", "conv", 3, 2e6, (4e6, 1e6))
POOL = Task("b", "pool", 1, 0.0, (2e-3,))
FRESH = Task("c", "fresh", 1, 1e6)


def make_report(*tasks, stop="trials", emulated=False, scope=SCOPE):
    tuned = Tuned(tasks, stop, trials=4, failures=1, seconds=2.0)
    return TuneReport("net", scope, Path("records.sqlite"), tuned, emulated)


def make_counted(*tasks):
    return make_report(*tasks, emulated=True, scope=replace(SCOPE, cost="instructions"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400)]
)
def test_duration(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "h", "-3m", "2 hours", "nan"])
def test_duration_that_is_none_is_refused(text):
    with pytest.raises(click.BadParameter, match="2h"):
        Duration().convert(text, None, None)


def test_facts_are_of_every_task_and_of_the_whole():
    facts = tuning_facts(make_report(CONV, POOL))
    assert facts["model_s"] == pytest.approx(3e-3 + 2e-3)
    assert facts["first_s"] == pytest.approx(12e-3 + 2e-3)
    assert [task["best_s"] for task in facts["tasks"]] == [1e-3, 2e-3]
    assert facts["stop"] == "trials"


def test_parts_show_the_costliest_task_first_and_the_rate():
    table, *lines = tuning_parts(make_report(POOL, CONV))
    assert [row[0] for row in table.rows] == ["conv", "pool"]
    assert table.rows[0] == ("conv", "3", "3", "4000", "1000", "2.0")
    assert lines[0].startswith("4 trials, 1 failed, 2.0 a second: ")
    assert lines[1].startswith("net: 5 ms by the best of each task, 14 ms by their first trials")


def test_parts_show_what_was_tried_and_count_the_rest():
    fresh = [replace(FRESH, structural_hash=str(number)) for number in range(20)]
    failing = Task("d", "failing", 1, 1e6, (math.inf,))
    table, *lines = tuning_parts(make_report(*fresh, POOL, CONV, failing))
    assert [row[0] for row in table.rows] == ["failing", "conv", "pool"]
    assert "21 tasks without a success yet: tune on" in lines
    assert isinstance(tuning_parts(make_report(*fresh))[0], str)

    many = [replace(CONV, structural_hash=str(number)) for number in range(20)]
    table, *lines = tuning_parts(make_report(*many))
    assert lines[0] == f"{20 - len(table.rows)} tasks more cost less: edgekit records list --tasks"


def test_model_without_tasks_costs_nothing_that_is_known():
    (*lines, _place) = tuning_parts(make_report(stop="exhausted"))
    assert lines[-1] == "net: it has no function that tuning could make faster"
    assert tuning_facts(make_report(stop="exhausted"))["model_s"] is None


@pytest.mark.parametrize(
    ("operator", "precision", "words"),
    [
        ("Det", "fp32", ["odd cannot be tuned: tvm has no operator Det", "onnxruntime"]),
        ("Relu", "fp16", ["half precision", "use fp32"]),
        ("Relu", "int8", ["no layer that int8 could make faster"]),
    ],
)
def test_model_that_cannot_be_tuned_is_refused_before_a_board_is_started(
    operator, precision, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("edgekit.app.tune.start_worker", None)
    monkeypatch.setattr("edgekit.app.tune.open_device", None)
    model = unary(tmp_path / "odd.onnx", operator, output=(1, 3) if operator == "Det" else None)
    assert run(["tune", str(model), "-t", "rpi3", "-d", "virtual, virtual:b", "-p", precision]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said


def test_parts_say_how_many_tasks_have_no_record():
    lines = tuning_parts(make_report(CONV, FRESH))
    assert "1 task without a success yet: tune on" in lines
    assert tuning_facts(make_report(CONV, FRESH))["model_s"] is None


def test_parts_of_an_emulated_board_claim_no_time_of_a_real_one():
    assert any("emulated" in str(part) for part in tuning_parts(make_report(CONV, emulated=True)))
    assert not any("emulated" in str(part) for part in tuning_parts(make_report(CONV)))


def test_instructions_are_facts_of_other_names_than_seconds():
    facts = tuning_facts(make_counted(COUNTED))
    assert facts["cost"] == "instructions"
    assert (facts["first_instructions"], facts["model_instructions"]) == (12e6, 3e6)
    assert facts["tasks"][0]["best_instructions"] == 1e6
    names = {*facts, *facts["tasks"][0]}
    assert not [name for name in names if name.endswith("_s")]


def test_instructions_are_shown_as_what_they_are():
    table, *lines = tuning_parts(make_counted(COUNTED))
    assert table.rows[0] == ("conv", "3", "2", "4,000,000", "1,000,000", "2.00")
    assert lines[1].startswith("net: 3,000,000 instructions by the best of each task, 12,000,000")
    assert any("no speed" in line for line in lines)
    shown = "\n".join([table.plain(), *lines])
    for word in ("FPS", "FLOPS", " ms", " us", "times of"):
        assert word not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["tune", "yolov5", "--target", "local", "--cost", "instructions"],
            ["virtual boards", "local is none", "--device virtual"],
        ),
        (
            ["tune", "yolov5", "-t", "rk3566", "-d", "me@rock", "--cost", "instructions"],
            ["me@rock is none", "without --cost instructions"],
        ),
        (["tune", "yolov5", "--target", "local", "--cost", "joules"], ["joules", "seconds"]),
        (["tune", "yolo5", "--target", "local", "--device", "local"], ["yolo5", "yolov5"]),
        (["tune", "yolov5", "--target", "rk3556", "--device", "virtual"], ["rk3566"]),
        (["tune", "yolov5", "--target", "local", "--time", "soon"], ["soon", "2h"]),
        (["tune", "yolov5", "--target", "local", "--wait", "long"], ["long", "2h"]),
        (
            ["tune", "yolov5", "-t", "rk3566", "-d", "virtual,virtual:rk3566"],
            ["virtual and virtual:rk3566 are one device", "virtual:a,virtual:b"],
        ),
        (["tune", "yolov5", "-t", "rk3566", "-d", "me@rock,me@rock"], ["me@rock are one device"]),
        (["tune", "yolov5", "-t", "rk3566", "-d", "virtual:A"], ["'A' cannot name a virtual"]),
        (["tune", "yolov5", "--workers", "ray://10.0.0.5:6379"], ["ray://", "dask://HOST:PORT"]),
    ],
)
def test_wrong_input_is_one_clear_error(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    for word in words:
        assert word in captured.err
