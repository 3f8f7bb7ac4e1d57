"""The measuring frame, with a session small enough to know every answer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgekit.onboard import harness
from edgekit.onboard.arrays import Form, Quantised
from edgekit.onboard.cores import usable_cores

SPEC = {"name": "y", "dtype": "float32", "shape": [1, 2]}
STEP = {"name": "tensor", "parameters": {}}


class Session:
    """Gives the input times two; counts its calls; breaks where the test says."""

    calls = 0
    knobs: dict[str, object]
    fail_at = 0
    answer: dict[str, np.ndarray] | None = None

    def __init__(self, folder, job, precision, knobs):
        type(self).calls = 0
        type(self).knobs = knobs

    def run(self, inputs):
        type(self).calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("out of luck")
        return self.answer or {"y": inputs["x"] * np.float32(2)}

    def versions(self):
        return {"session": "1"}


@pytest.fixture
def run(tmp_path, capsys):
    def execute(session=Session, frames=2, **changes):
        paths = []
        for number in range(frames):
            path = tmp_path / f"{number}.npz"
            np.savez(path, x=np.full((1, 2), number, np.float32))
            paths.append(str(path))
        plan = {
            "warmup_runs": 2,
            "warmup_seconds": 0,
            "min_runs": 4,
            "min_seconds": 0,
            "max_seconds": 60,
        }
        job = {
            "folder": str(tmp_path),
            "job": {"outputs": [SPEC], "preprocess": STEP, "postprocess": STEP},
            "engine": "test",
            "precision": "fp32",
            "knobs": {"threads": 3},
            "kind": "time",
            "frames": changes.pop("own_frames", paths),
            "plan": {**plan, **changes.pop("plan", {})},
            "output": str(tmp_path),
            **changes,
        }
        file = tmp_path / "job.json"
        file.write_text(json.dumps(job))
        status = harness.main(session, [str(file)])
        written = tmp_path / "result.json"
        result = json.loads(written.read_text()) if written.exists() else None
        return status, result, capsys.readouterr()

    return execute


def test_time_gives_samples_and_versions(run):
    status, result, _ = run()
    assert status == 0
    assert len(result["model_ns"]) == 4
    assert len(result["end_to_end_ns"]) == 4
    assert all(sample >= 0 for sample in result["model_ns"])
    assert set(result["versions"]) == {"session", "numpy", "python", "steps"}
    assert result["versions"]["steps"] == "numpy"
    assert result["memory_peak_bytes"] > 1 << 20
    assert result["outputs"] == []
    # 2 inferred, 2 to warm up, 4 timed; 1 more to warm the whole way, 4 timed.
    assert Session.calls == 13


def making(folder, name="tuned.bin"):
    """A session that made a file while loading."""
    path = folder / "cache" / "tuned"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"tuned")
    return type("Making", (Session,), {"made": {name: str(path)}})


@pytest.mark.parametrize("links", [True, False])
def test_file_that_the_session_made_is_handed_over(run, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda path, _place: Path(path, "none").read_bytes())
    assert run(kind="infer")[1]["made"] == []
    status, result, _ = run(making(tmp_path), kind="infer")
    assert (status, result["made"]) == (0, ["tuned.bin"])
    assert (tmp_path / "tuned.bin").read_bytes() == b"tuned"


@pytest.mark.parametrize("name", ["../tuned", "a/b", ".hidden", "", "job.json", "result.json"])
def test_made_file_of_a_name_that_cannot_be_fails_the_run(run, tmp_path, name):
    status, result, printed = run(making(tmp_path, name), kind="infer")
    assert status == 1
    assert result is None
    assert "cannot be named" in printed.err.splitlines()[-1]


def test_made_file_that_is_gone_fails_the_run_in_words(run, tmp_path):
    session = making(tmp_path)
    (tmp_path / "cache/tuned").unlink()
    status, _, printed = run(session, kind="infer")
    assert status == 1
    assert printed.err.splitlines()[-1].startswith("cannot hand over")


def test_infer_gives_outputs_and_times_nothing(run, tmp_path):
    status, result, _ = run(kind="infer")
    assert status == 0
    second = result["outputs"][1]
    assert (second["frame"], second["name"], second["shape"]) == (1, "y", [1, 2])
    assert np.load(tmp_path / second["path"]).tolist() == [[2.0, 2.0]]
    assert result["model_ns"] == []
    assert Session.calls == 2


def test_knobs_reach_the_session(run):
    run(knobs={"threads": 5, "spinning": 0})
    assert Session.knobs == {"threads": 5, "spinning": 0}
    run(knobs={})
    assert Session.knobs["threads"] == usable_cores()


def test_evaluate_gives_answers_and_no_tensors(run, tmp_path):
    job = {
        "outputs": [SPEC],
        "preprocess": STEP,
        "postprocess": {"name": "classify", "parameters": {"top_k": 2, "output": "y"}},
    }
    answer = {"y": np.array([[0.25, 0.5]], np.float32)}
    status, result, printed = run(
        type("Sure", (Session,), {"answer": answer}),
        kind="evaluate",
        job=job,
        postprocess_parameters={"top_k": 1},
    )
    assert status == 0
    assert result["answers"] == [[[1, 0.5]], [[1, 0.5]]]
    assert result["outputs"] == []
    assert result["model_ns"] == []
    assert not list(tmp_path.glob("out-*"))
    lines = printed.out.splitlines()
    assert {json.loads(line)["phase"] for line in lines} <= {"evaluate"}


def test_postprocess_parameters_that_the_step_lacks_fail_the_run(run):
    status, _, printed = run(kind="evaluate", postprocess_parameters={"wobble": 1})
    assert status == 1
    assert "wobble" in printed.err.splitlines()[-1]


def test_quantised_output_is_kept_as_floats_in_the_models_order(run, tmp_path):
    values = np.arange(-6, 6, dtype=np.int8).reshape(1, 2, 3, 2)
    session = type("Whole", (Session,), {"answer": {"y": Quantised(values, 0.5, -4, "NHWC")}})
    job = {
        "outputs": [{**SPEC, "shape": [1, 2, 2, 3]}],
        "preprocess": STEP,
        "postprocess": {"name": "classify", "parameters": {"top_k": 1}},
    }
    status, result, _ = run(session, job=job, kind="infer")
    assert status == 0
    kept = np.load(tmp_path / result["outputs"][0]["path"])
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, (values.transpose(0, 3, 1, 2) + 4) * np.float32(0.5))
    assert result["answers"][0] == [[11, 4.5]]
    assert result["outputs"][0]["shape"] == [1, 2, 2, 3]


@pytest.mark.parametrize("values", [np.zeros((1, 3, 2, 2), np.int8), np.zeros((1, 2), np.int8)])
def test_quantised_output_of_another_shape_fails_the_run(run, values):
    session = type("Odd", (Session,), {"answer": {"y": Quantised(values, 1.0, 0, "NHWC")}})
    job = {"outputs": [{**SPEC, "shape": [1, 2, 2, 2]}], "preprocess": STEP, "postprocess": STEP}
    status, _, printed = run(session, job=job)
    assert status == 1
    assert "the model says [1, 2, 2, 2]" in printed.err.splitlines()[-1]


class Taking(Session):
    """Wants its input quantised; remembers what came."""

    input_forms: ClassVar = {"x": Form("NHWC", "int8", 0.5, -1)}
    came: dict[str, np.ndarray]

    def run(self, inputs):
        type(self).came = inputs
        return {"y": np.zeros((1, 2), np.float32)}


def test_tensor_step_feeds_the_form_that_the_session_names(run):
    status, _, printed = run(Taking, kind="infer")
    assert status == 0, printed.err
    assert Taking.came["x"].dtype == np.int8
    assert Taking.came["x"].tolist() == [[1, 1]]  # 1 / 0.5 - 1


@pytest.mark.parametrize("own_layout", ["NCHW", "NHWC"])
def test_image_step_feeds_the_form_that_the_session_names(run, tmp_path, own_layout):
    frame = np.random.RandomState(1).randint(0, 256, (9, 7, 3), np.uint8)
    np.save(tmp_path / "frame.npy", frame)
    parameters = {"size": [8, 4], "input": "x", "layout": own_layout}
    job = {
        "outputs": [SPEC],
        "preprocess": {"name": "letterbox", "parameters": parameters},
        "postprocess": STEP,
    }
    own = [str(tmp_path / "frame.npy")]
    taking = type("Taking255", (Taking,), {"input_forms": {"x": Form("NHWC", "uint8", 1 / 255, 0)}})
    assert run(taking, job=job, own_frames=own)[0] == 0
    got = taking.came["x"]
    plain = type("Plain", (Taking,), {"input_forms": {}})
    assert run(plain, job=job, own_frames=own)[0] == 0
    real = plain.came["x"]
    assert real.dtype == np.float32
    # The form is counted from the model's own order, whatever that is.
    assert got.shape == real.transpose(0, 2, 3, 1).shape
    assert got.dtype == np.uint8
    assert np.abs(got - real.transpose(0, 2, 3, 1) * 255).max() <= 0.501


def test_library_that_does_not_load_is_told_and_the_steps_are_numpys(run, tmp_path):
    (tmp_path / "libsteps.so").write_bytes(b"of another machine")
    status, result, printed = run(kind="infer")
    assert status == 0
    assert result["versions"]["steps"] == "numpy"
    assert "the steps are NumPy's" in printed.err


@pytest.fixture
def cores():
    before = os.sched_getaffinity(0)
    yield sorted(before)
    os.sched_setaffinity(0, before)


def test_affinity_binds_before_the_session_loads(run, cores):
    class Bound(Session):
        def __init__(self, *given):
            super().__init__(*given)
            type(self).bound = os.sched_getaffinity(0)

    last = cores[-1]
    status, result, printed = run(Bound, knobs={"affinity": f"{last}-{last}"})
    assert status == 0, printed.err
    assert Bound.bound == {last}
    assert result["threads"] == 1


@pytest.mark.parametrize("cpus", ["0-4095", "4094", "two", "1-0", "0,,1", "-1"])
def test_affinity_that_cannot_be_fails_the_run_in_words(run, cores, cpus):
    status, _, printed = run(knobs={"affinity": cpus})
    assert status == 1
    assert printed.err.splitlines()[-1].startswith("affinity ")


def test_max_seconds_ends_what_reaches_neither_minimum(run):
    status, result, _ = run(plan={"min_runs": 10**9, "min_seconds": 10**6, "max_seconds": 0.05})
    assert status == 0
    assert len(result["model_ns"]) >= 1


def test_progress_lines_are_json_and_end_each_phase(run):
    _, _, printed = run()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["phase"] for line in lines if line["done"] == line["total"]] == [
        "warmup",
        "model",
        "warmup",
        "end_to_end",
    ]
    assert all(line["event"] == "progress" for line in lines)


@pytest.mark.parametrize("fail_at", [2, 4, 6, 12])
def test_one_failed_inference_fails_the_run(run, fail_at):
    failing = type("Failing", (Session,), {"fail_at": fail_at})
    status, result, printed = run(failing)
    assert status == 1
    assert result is None
    last = printed.err.splitlines()[-1]
    assert "inference" in last
    assert "out of luck" in last


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"z": np.zeros((1, 2), np.float32)}, "no output named y"),
        ({"y": np.zeros((2, 1), np.float32)}, "shape [2, 1], the model says [1, 2]"),
    ],
)
def test_output_that_is_not_the_models_fails_the_run(run, answer, words):
    status, _, printed = run(type("Odd", (Session,), {"answer": answer}))
    assert status == 1
    assert words in printed.err.splitlines()[-1]


def test_outputs_that_are_not_finite_are_reported(run):
    answer = {"y": np.array([[np.nan, 1]], np.float32)}
    status, result, printed = run(type("Nan", (Session,), {"answer": answer}), kind="infer")
    assert status == 0
    assert result["outputs"][0]["non_finite"] == 1
    assert "NaN" in printed.err


def test_session_that_cannot_load_says_what_it_loaded(run):
    def broken(*_):
        raise ImportError("libgomp.so.1: cannot open shared object file")

    status, result, printed = run(broken)
    assert status == 1
    assert result is None
    assert "loading the test fp32 model failed" in printed.err.splitlines()[-1]
    assert "libgomp" in printed.err


def test_unknown_step_is_named(run):
    job = {"outputs": [SPEC], "preprocess": {"name": "wobble"}, "postprocess": STEP}
    status, _, printed = run(job=job)
    assert status == 1
    assert "wobble" in printed.err.splitlines()[-1]


def test_job_without_frames_fails(run):
    status, _, printed = run(frames=0)
    assert status == 1
    assert "no frames" in printed.err


def test_frame_that_cannot_be_read_is_named(run, tmp_path):
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY\x01")
    status, _, printed = run(own_frames=[str(tmp_path / "torn.npy")])
    assert status == 1
    assert "torn.npy" in printed.err.splitlines()[-1]


def test_call_without_a_job_is_a_wrong_call(capsys):
    assert harness.main(Session, []) == 2
    assert "usage" in capsys.readouterr().err


def test_sigterm_ends_quietly(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from edgekit.onboard import harness\n"
        "def session(*_):\n"
        "    print('loading', flush=True)\n"
        "    time.sleep(600)\n"
        "sys.exit(harness.main(session))\n"
    )
    job = tmp_path / "job.json"
    job.write_text(
        json.dumps(
            {
                "folder": "",
                "output": str(tmp_path),
                "job": {"outputs": [], "preprocess": STEP, "postprocess": STEP},
                "engine": "test",
                "precision": "fp32",
                "frames": [],
            }
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert errors == ""
    assert not (tmp_path / "result.json").exists()
