"""The measuring frame, with a session small enough to know every answer."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from edgekit.onboard import harness

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
            "kind": "bench",
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


def test_bench_gives_samples_outputs_and_versions(run, tmp_path):
    status, result, _ = run()
    assert status == 0
    assert len(result["model_ns"]) == 4
    assert len(result["end_to_end_ns"]) == 4
    assert all(sample >= 0 for sample in result["model_ns"])
    assert set(result["versions"]) == {"session", "numpy", "python"}
    assert result["memory_peak_bytes"] > 1 << 20
    second = result["outputs"][1]
    assert (second["frame"], second["name"], second["shape"]) == (1, "y", [1, 2])
    assert np.load(tmp_path / second["path"]).tolist() == [[2.0, 2.0]]
    # 2 inferred, 2 to warm up, 4 timed; 1 more to warm the whole way, 4 timed.
    assert Session.calls == 13


def test_infer_times_nothing(run):
    status, result, _ = run(kind="infer")
    assert status == 0
    assert result["model_ns"] == []
    assert Session.calls == 2


def test_knobs_reach_the_session_and_threads_win(run):
    run(threads=5)
    assert Session.knobs["threads"] == 5
    run(knobs={})
    assert Session.knobs["threads"] == harness.usable_cores()


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
    status, result, printed = run(type("Nan", (Session,), {"answer": answer}))
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
