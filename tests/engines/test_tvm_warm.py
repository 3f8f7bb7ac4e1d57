"""Schedules of similar boards, replayed by TVM on one that is new."""

import json
from dataclasses import replace

import pytest

from edgekit.app.scopes import scope_of
from edgekit.app.tune import TuneOptions, tune
from edgekit.catalog.targets import load_target
from edgekit.core.events import Note
from edgekit.engines.tvm.tune_warm import intrinsics
from edgekit.tune.records import RECORDS_FILE, open_records
from edgekit.tune.session import Limits


def trace_of(*instructions):
    return json.dumps([[list(instructions), []], None, {}, []])


def test_intrinsics_of_a_schedule_are_found():
    trace = trace_of(
        ["GetSBlock", [], ["sums", "main"], ["b0"]],
        ["Tensorize", ["l0"], ["dot_4x4_i8i8s32_sdot", 1], []],
        ["Annotate", ["b0", '"dot_4x4_i8i8s32_neon"'], ["meta_schedule.auto_tensorize"], []],
        ["Annotate", ["b0", 512], ["meta_schedule.unroll_explicit"], []],
    )
    assert set(intrinsics(trace)) == {"dot_4x4_i8i8s32_sdot", "dot_4x4_i8i8s32_neon"}
    assert not set(intrinsics(trace_of(["GetSBlock", [], ["sums", "main"], ["b0"]])))


@pytest.mark.parametrize("trace", ["", "{}", "[]", "[[]]", "[[[[1]], []]]", "[3]"])
def test_what_is_no_schedule_is_refused(trace):
    with pytest.raises((ValueError, TypeError, LookupError)):
        list(intrinsics(trace))


@pytest.mark.slow
@pytest.mark.toolbox
@pytest.mark.network
def test_schedules_of_a_similar_board_are_measured_first_and_others_skipped(
    tiny, monkeypatch, tmp_path
):
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    here = scope_of(load_target("local"))
    there = replace(here, fingerprint=replace(here.fingerprint, target="cousin"))
    notes = []

    def keep_notes(event):
        if isinstance(event, Note):
            notes.append(event.text)

    def run(folder, trials, seed=0):
        monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(tmp_path / folder))
        options = TuneOptions(
            str(tiny.onnx.path), "local", ("local",), Limits(trials=trials), seed=seed
        )
        return tune(options, emit=keep_notes)

    def kept(folder, scope):
        with open_records(tmp_path / folder / RECORDS_FILE) as records:
            return tuple(records.trials(scope))

    run("first", 16)
    cousins = [replace(each, scope=there) for each in kept("first", here) if each.costs]
    good = cousins[0]
    fields = json.loads(good.trace)
    fields[0][0].append(["Tensorize", ["l0"], ["an_instruction_of_the_cousin", True], []])
    with open_records(tmp_path / "second" / RECORDS_FILE) as records:
        for record in cousins:
            records.append(record)
        # Better than any, if only it could be used here.
        records.append(replace(good, trace=json.dumps(fields), costs=(1e-12,)))
        records.append(replace(good, trace="[[],[]]", costs=(1e-12,)))
        best = {each.trace for each in records.top(there, good.structural_hash, 4)[2:]}
    notes.clear()
    report = run("second", 24, seed=5)
    assert report.tuned.failures == 0
    said = [text for text in notes if "similar boards" in text]
    assert len(said) == 1, notes
    assert "of cousin (other clocks): " in said[0]
    assert said[0].endswith("; 2 do not apply here")
    own = [each for each in kept("second", here) if each.structural_hash == good.structural_hash]
    assert {each.trace for each in own[:2]} == best
    assert all(each.costs for each in own[:2])
