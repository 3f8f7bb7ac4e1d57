"""``bench`` on this machine: what spoils a run is found, and the run's folder holds the proof."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.core.health import HealthSnapshot

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

QUICK = ("--target", "local", "--seconds", "1.5", "--budget", "0.1s")
NCNN = ("shapes", "--engine", "ncnn", *QUICK)


@contextmanager
def busy_cores(count):
    """Keep cores busy with somebody else's work."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.fixture(autouse=True)
def _strict(own_state, monkeypatch):
    monkeypatch.delenv("EDGEKIT_ACCEPT_INVALID")


def kinds(result):
    return {reason["kind"] for reason in result["validity"]["reasons"]}


def test_run_beside_other_programs_is_not_believed_and_says_so(edgekit):
    with busy_cores(2):
        done = edgekit("bench", *NCNN)
    assert done.code == 6
    assert done.result["valid"] is False
    (result,) = done.result["results"]
    assert "disturbed" in kinds(result)
    assert result["fps"] > 0
    folder = Path(done.result["run_dir"])
    assert json.loads((folder / "result.json").read_text()) == done.result
    samples = json.loads((folder / "samples" / "ncnn-fp32.json").read_text())
    assert len(samples["model_ns"]) == result["latency_ms"]["runs"] >= 30
    looks = json.loads((folder / "health" / "ncnn-fp32.json").read_text())["snapshots"]
    seen = [HealthSnapshot.from_json(look) for look in looks]
    assert len(seen) >= 3
    # What was timed lies between the first look and the last.
    began, ended = result["spans_ns"]["model"]
    assert seen[0].monotonic_ns < began < ended < seen[-1].monotonic_ns
    assert result["subject"]["inputs"]["images"] == [1, 3, 160, 160]


def test_unbelieved_run_is_repeated_within_the_budget(edgekit):
    with busy_cores(2):
        done = edgekit("bench", "shapes", "-e", "ncnn", *QUICK[:4], "--budget", "40s")
    (result,) = done.result["results"]
    assert result["attempts"]
    told = [line for line in done.lines if line.get("event") == "note"]
    assert any("not believed: other programs took" in line["text"] for line in told)


def test_what_is_active_is_measured_without_a_model(edgekit, refused):
    said = refused(3, "bench", *QUICK)
    assert "nothing is active" in said
    quick = ("--quick", "--precision", "fp32", "--accept-invalid")
    deployed = edgekit("deploy", "shapes", "--target", "local", "-e", "ncnn", *quick)
    assert deployed.code == 0
    done = edgekit("bench", *QUICK)
    assert done.code in {0, 6}
    (result,) = done.result["results"]
    assert result["subject"]["bundle"] == deployed.result["active"]["current"]
    assert result["subject"]["model"] == "shapes"
    assert done.code == (0 if result["validity"]["valid"] else 6)


def test_soak_tells_the_course(edgekit):
    done = edgekit("bench", "shapes", "-e", "ncnn", "--target", "local", "--soak", "8s")
    (result,) = done.result["results"]
    soak = result["soak"]
    assert len(soak["windows"]) >= 4
    assert soak["windows"][-1]["end_s"] == pytest.approx(8, abs=2)
    assert soak["sustained_fps"] > 0
    # This machine tells nothing of heat, so that nothing may be said of it.
    assert kinds(result) <= {"disturbed", "swapping"}


def test_engine_that_cannot_be_is_one_error(refused):
    said = refused(4, "bench", "shapes", "-e", "rknn", "--target", "local")
    assert "nothing stands that could be measured" in said
    said = refused(2, "bench", "shapes", "-e", "nccn", "--target", "local")
    assert "did you mean ncnn" in said


def test_race_beside_other_programs_says_so_and_exits_with_6(edgekit):
    with busy_cores(2):
        done = edgekit("race", "shapes", "--quick", "-e", "ncnn", "-p", "fp32", "--target", "local")
    assert done.code == 6
    row = done.rows()["ncnn", "fp32"]
    assert "disturbed" in {doubt["kind"] for doubt in row["doubts"]}
    assert done.result["valid"] is False
    # What is known already is told again, doubts and all.
    again = edgekit("race", "shapes", "--quick", "-e", "ncnn", "-p", "fp32", "--target", "local")
    assert again.rows()["ncnn", "fp32"]["doubts"] == row["doubts"]
    accepted = edgekit(
        "race", "shapes", "--quick", "-e", "ncnn", "-p", "fp32", "--target", "local",
        "--accept-invalid",
    )  # fmt: skip
    assert accepted.code == 0


def test_meter_on_the_host_tells_energy_above_idle(edgekit, refused):
    said = refused(2, "bench", *NCNN, "--meter", "watt")
    assert "no kind of meter" in said
    meter = "command,scope=board:sh -c 'while :; do echo 4.25; sleep 0.05; done'"
    done = edgekit("bench", *NCNN, "--meter", meter, "--idle", "1", "--clocks", "fixed")
    (result,) = done.result["results"]
    power = result["power"]
    assert power["name"] == "board"
    assert power["mean_w"] == pytest.approx(4.25)
    began, ended = result["spans_ns"]["model"]
    seconds_each = (ended - began) / 1e9 / result["latency_ms"]["runs"]
    assert power["j_per_inference"] == pytest.approx(4.25 * seconds_each, rel=1e-3)
    assert power["above_idle_j_per_inference"] == pytest.approx(0, abs=1e-6)
    # A virtual machine has no clocks to pin, or a real one has: either is said.
    clocks = done.result["clocks"]
    assert clocks["pinned"] or clocks["why_not"]


def test_meter_that_tells_no_watts_is_refused_before_the_run(refused):
    said = refused(2, "bench", *NCNN, "--meter", "command:echo nix")
    assert "prints 'nix', not watts" in said
