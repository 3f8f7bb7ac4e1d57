"""Runs are found by what a user may call them, and refused with words where they cannot be."""

import json

import pytest

from edgekit.app.compare import compare_runs, load_run
from edgekit.core.errors import UsageError


def bench(run_id, *engines, p50=10.0):
    results = [
        {
            "subject": {
                "model": "shapes", "engine": engine, "precision": "fp32", "knobs": {"threads": 2},
                "bundle": "b" * 64, "target": "local", "model_sha256": None, "inputs": {},
            },
            "latency_ms": {"p50": p50},
            "end_to_end_ms": None,
            "versions": {},
            "validity": {"median_interval_ms": [p50 - 0.1, p50 + 0.1], "reasons": []},
        }
        for engine in engines
    ]  # fmt: skip
    return {"kind": "bench", "run_id": run_id, "device": {"hostname": "vm"}, "results": results}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path))

    def put(table):
        folder = tmp_path / table["run_id"]
        (folder / "health").mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(table))
        for result in table["results"]:
            name = f"{result['subject']['engine']}-fp32.json"
            (folder / "health" / name).write_text('{"snapshots": []}')
        return folder

    return put


def test_run_is_found_by_id_beginning_folder_and_file(runs):
    folder = runs(bench("20261122-1-shapes", "ncnn"))
    for name in (folder.name, "20261122-1", str(folder), str(folder / "result.json")):
        assert load_run(name).name == "20261122-1-shapes:ncnn-fp32"
        assert load_run(f"{name}:ncnn-fp32").engine == "ncnn"


def test_candidate_is_chosen_where_there_are_several(runs):
    runs(bench("run", "ncnn", "mnn"))
    assert load_run("run:mnn-fp32").engine == "mnn"
    with pytest.raises(UsageError, match="2 candidates") as raised:
        load_run("run")
    assert ":mnn-fp32, :ncnn-fp32" in raised.value.hint
    with pytest.raises(UsageError, match="no candidate tvm-fp32"):
        load_run("run:tvm-fp32")


def test_beginning_of_several_runs_names_them(runs):
    runs(bench("run-a", "ncnn"))
    runs(bench("run-b", "ncnn"))
    with pytest.raises(UsageError, match="begins 2 runs") as raised:
        load_run("run")
    assert "run-a, run-b" in raised.value.hint


def test_unknown_run_names_the_latest(runs):
    with pytest.raises(UsageError, match="no run 'x'") as raised:
        load_run("x")
    assert "edgekit bench" in raised.value.hint
    runs(bench("known", "ncnn"))
    with pytest.raises(UsageError) as raised:
        load_run("x")
    assert "known" in raised.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "bench"}', '{"candidates": [1]}'])
def test_damaged_run_is_no_bug(runs, text):
    folder = runs(bench("run", "ncnn"))
    (folder / "result.json").write_text(text)
    with pytest.raises(UsageError, match="cannot be read"):
        load_run("run")


def test_two_runs_are_held_against_each_other(runs):
    runs(bench("fast", "ncnn", p50=10.0))
    runs(bench("slow", "ncnn", p50=20.0))
    found = compare_runs("fast", "slow")
    assert found.ratio == 2
    assert found.differs
    assert json.loads(json.dumps(found.as_json()))["ratio"] == 2


def test_raced_run_tells_what_spoke_against_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path))
    row = {
        "engine": "ncnn", "precision": "fp32", "knobs": {}, "bundle": None, "rewrites": [],
        "status": "ok", "latency_ms": {"p50": 10.0}, "end_to_end_ms": None,
        "doubts": [{"kind": "disturbed", "text": "other programs took all of it"}],
    }  # fmt: skip
    device = {"hostname": "vm", "emulated": True}
    table = {"run_id": "raced", "recipe": "shapes", "device": device, "candidates": [row]}
    (tmp_path / "raced/samples").mkdir(parents=True)
    (tmp_path / "raced/result.json").write_text(json.dumps(table))
    samples = {"model_ns": [10_000_000] * 9, "versions": {}}
    (tmp_path / "raced/samples/ncnn-fp32.json").write_text(json.dumps(samples))
    assert [kind for kind, _text in load_run("raced").reasons] == ["disturbed", "emulated"]
