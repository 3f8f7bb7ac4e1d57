"""Runs of a bundle, over a real agent in a process of its own: results, crashes, ends."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device_life import deliver, ends, wait_for
from processes import children_of, members_of

from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    NoPythonError,
    RunnerError,
)
from edgekit.core.events import StepProgress
from edgekit.device import LocalAddress, RunRequest, connect
from edgekit.device.runs import _Download


def test_run_brings_samples_outputs_and_answers(device, workshop, tmp_path):
    bundle = workshop.bundle()
    deliver(device, bundle)
    frames = [workshop.file(b"one"), workshop.file(b"PK two")]
    device.push(frames)
    events = []
    hashes = tuple(frame.sha256 for frame in frames)
    request = RunRequest("time", hashes, knobs=(("threads", 3),))
    result = device.run(bundle.identity, request, events.append)
    assert result.model_ns == (5, 6, 7)
    assert result.end_to_end_ns == (8, 9)
    assert result.answers == ("one", "PK two")
    assert [frame["output0"].read_bytes() for frame in result.outputs] == [
        b"output of one", b"output of PK two",
    ]  # fmt: skip
    assert result.versions == {"greeting": "hello", "threads": "3", "suffix": ".npy"}
    assert StepProgress("run", 3, 3, "model") in events
    kept = RunRequest("infer", (frames[1].sha256,), outputs=tmp_path / "kept")
    result = device.run(bundle.identity, kept)
    assert result.versions["suffix"] == ".npz"
    assert result.versions["threads"] == "2"
    device.close()
    assert result.outputs[0]["output0"].parent == tmp_path / "kept"
    assert result.outputs[0]["output0"].exists()


def test_run_hands_on_kind_knobs_and_postprocess_parameters(device, workshop):
    bundle = workshop.bundle("echo", knobs=(("spinning", 1), ("threads", 2)))
    deliver(device, bundle)
    request = RunRequest(
        "evaluate",
        (),
        knobs=(("affinity", "0,2"), ("spinning", 0)),
        postprocess_json='{"score_threshold": 0.001}',
    )
    [job] = device.run(bundle.identity, request).answers
    assert job["kind"] == "evaluate"
    assert job["knobs"] == {"affinity": "0,2", "spinning": 0, "threads": 2}
    assert job["postprocess_parameters"] == {"score_threshold": 0.001}
    [job] = device.run(bundle.identity, RunRequest("infer", ())).answers
    assert job["knobs"] == {"spinning": 1, "threads": 2}
    assert job["postprocess_parameters"] == {}


def test_run_by_a_launcher_starts_the_same_runner(device, workshop, tmp_path):
    bundle = workshop.bundle()
    deliver(device, bundle)
    frame = workshop.file(b"one")
    device.push([frame])
    words = ("sh", "-c", f'printf "%s\\n" "$@" > {tmp_path}/words; exec "$@"', "sh", "env", "A=1")
    result = device.run(bundle.identity, RunRequest("time", (frame.sha256,), launcher=words))
    assert result.model_ns == (5, 6, 7)
    seen = (tmp_path / "words").read_text().splitlines()
    assert seen[:2] == ["env", "A=1"]
    assert seen[3:5] == ["-B", "-s"]
    assert seen[5].endswith(f"{bundle.identity}/runner.pyz")
    with pytest.raises(RunnerError, match="status 7"):
        device.run(bundle.identity, RunRequest("infer", (), launcher=("sh", "-c", "exit 7")))


def test_bytecode_of_one_run_serves_the_next_until_the_device_restarts(
    device, workshop, device_root
):
    bundle = workshop.bundle()
    deliver(device, bundle)
    runs, place = RunRequest("infer", ()), device_root / "bytecode"
    (place / "boot-of-yesterday").mkdir()
    device.run(bundle.identity, runs)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert [path.name for path in place.iterdir()] == [boot]
    [held] = place.rglob("greeting.*.pyc")
    first = held.stat()
    assert device.run(bundle.identity, runs).versions["greeting"] == "hello"
    again = held.stat()  # it was read, which some disks note
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert not list((device_root / "runtimes").rglob("*.pyc"))
    # Runs that somebody counts are all alike.
    held.unlink()
    launched = RunRequest("infer", (), launcher=("env", "A=1"))
    device.run(bundle.identity, launched)
    assert not held.exists()
    assert device.gc(grace_s=-1) > 0
    assert not list(place.iterdir())


def test_what_a_run_is_asked_for_is_its_users_alone(device, workshop, device_root):
    bundle = workshop.bundle()
    deliver(device, bundle)
    device.run(bundle.identity, RunRequest("infer", ()))
    [asked] = device_root.rglob("job.json")  # a camera's password may stand in it
    assert asked.stat().st_mode & 0o777 == 0o600


def test_run_by_what_is_no_launcher_is_refused(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    with pytest.raises(AgentError, match="list of words") as caught:
        device.run(bundle.identity, RunRequest("infer", (), launcher=("sh", 7)))
    assert caught.value.code == "bad_request"
    with pytest.raises(NoPythonError, match="could not start /nowhere"):
        device.run(bundle.identity, RunRequest("infer", (), launcher=("/nowhere",)))


def test_run_with_many_large_outputs_brings_them_all(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    frame = workshop.file(b"x" * 5000)
    device.push([frame])
    result = device.run(bundle.identity, RunRequest("infer", (frame.sha256,) * 1000))
    assert len(result.outputs) == 1000
    assert {files["output0"].stat().st_size for files in result.outputs} == {5010}


def test_run_brings_home_what_the_runner_made_if_asked(device, workshop):
    bundle = workshop.bundle("make tuned.bin")
    deliver(device, bundle)
    [(name, path)] = device.run(bundle.identity, RunRequest("infer", (), made=True)).made
    assert name == "tuned.bin"
    assert path.read_bytes() == b"tuned" * 30000
    assert device.run(bundle.identity, RunRequest("infer", ())).made == ()


@pytest.mark.parametrize("name", ["..", "../result.json", "/etc/passwd", ""])
def test_run_takes_no_made_file_from_outside_the_jobs_folder(device, workshop, name):
    bundle = workshop.bundle(f"make {name}")
    deliver(device, bundle)
    with pytest.raises(RunnerError, match="no plain name"):
        device.run(bundle.identity, RunRequest("infer", (), made=True))


def test_run_whose_made_file_is_not_there_is_refused(device, workshop):
    bundle = workshop.bundle("make another.bin")
    deliver(device, bundle)
    with pytest.raises(AgentError) as caught:
        device.run(bundle.identity, RunRequest("infer", (), made=True))
    assert caught.value.code == "not_found"


def test_run_refuses_a_made_file_that_arrives_damaged(device, workshop, monkeypatch):
    bundle = workshop.bundle("make tuned.bin")
    deliver(device, bundle)
    take = _Download._take

    def damaged(self, piece):
        take(self, b"x" + piece[1:] if self._path.name == "tuned.bin" else piece)

    monkeypatch.setattr(_Download, "_take", damaged)
    with pytest.raises(AgentError) as caught:
        device.run(bundle.identity, RunRequest("infer", (), made=True))
    assert caught.value.code == "hash_mismatch"
    assert "tuned.bin arrived damaged" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("crash", r"SIGSEGV(.|\n)*about to fall"),
        ("fail", r"status 1(.|\n)*no such layer"),
        ("silent", "left no result"),
    ],
)
def test_run_whose_runner_breaks_is_a_runner_error_and_the_agent_lives(
    device, workshop, mode, message
):
    bundle = workshop.bundle(mode)
    deliver(device, bundle)
    with pytest.raises(RunnerError, match=message):
        device.run(bundle.identity, RunRequest("infer", ()))
    assert device.status().bundles == (bundle.identity,)


def test_run_over_its_time_ends_the_wholemembers_of(device, workshop, device_root):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    with pytest.raises(RunnerError, match="did not end within"):
        device.run(bundle.identity, RunRequest("infer", (), timeout_s=0.5))
    leader = int(next((device_root / "jobs").glob("*/pid")).read_text())
    assert not [pid for pid in members_of(leader) if not ends(pid)]


def test_run_with_a_python_that_is_absent_says_so(device, workshop):
    plain = workshop.bundle()
    bundle = dataclasses.replace(
        plain, runtime=dataclasses.replace(plain.runtime, python="/no/such/python3")
    )
    deliver(device, bundle)
    with pytest.raises(NoPythonError, match="/no/such/python3") as caught:
        device.run(bundle.identity, RunRequest("infer", ()))
    assert "edgekit deploy" in caught.value.hint


CLIENT = """
import sys
from pathlib import Path
from edgekit.device import LocalAddress, RunRequest, connect
with connect(LocalAddress(root=Path(sys.argv[1]))) as device:
    device.run(sys.argv[2], RunRequest("infer", ()))
"""


@pytest.mark.parametrize("deadly", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_run_ends_when_the_host_dies(device, workshop, device_root, deadly):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    device.activate(bundle.identity)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(device_root), bundle.identity], stderr=subprocess.PIPE
    )
    try:
        jobs = device_root / "jobs"
        deadline = time.monotonic() + 20
        while not list(jobs.glob("*/pid")) and time.monotonic() < deadline:
            time.sleep(0.02)
        runner = int(wait_for(next(jobs.glob("*/pid"))))
        client.send_signal(deadly)
        client.communicate(timeout=20)
    finally:
        client.kill()
    assert ends(runner)
    assert device.status().current.bundle == bundle.identity
    assert device.activate(bundle.identity).changed is False  # the lock is free again


def test_run_and_all_it_started_end_when_the_agent_is_killed(device, workshop, device_root):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    agent = device._client._stream._process

    def kill(_event):
        agent.kill()

    with pytest.raises(ConnectionLostError):
        device.run(bundle.identity, RunRequest("infer", ()), kill)
    runner = int(next((device_root / "jobs").glob("*/pid")).read_text())
    assert ends(runner)
    assert not [pid for pid in members_of(runner) if not ends(pid)]


def test_run_leaves_no_process_of_the_agents_own(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    device.run(bundle.identity, RunRequest("infer", ()))
    assert not children_of(device._client._stream._process.pid)


def test_interrupted_conversation_does_not_go_on(device, workshop):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)

    def interrupt(_event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.run(bundle.identity, RunRequest("infer", ()), interrupt)
    with pytest.raises(ConnectionLostError):
        device.status()


def test_two_agents_take_turns_and_the_second_names_the_first(device, workshop, device_root):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    refusals = []

    def try_as_another(_event):
        with connect(LocalAddress(root=device_root)) as other:
            assert other.status().current is None  # to look is free
            with pytest.raises(AgentError) as caught:
                other.activate(bundle.identity)
            refusals.append(caught.value)

    agent = device._client._stream._process.pid
    with pytest.raises(RunnerError):
        device.run(bundle.identity, RunRequest("infer", (), timeout_s=6), try_as_another)
    assert refusals[0].code == "busy"
    assert f"run, process {agent}, from this machine" in refusals[0].message


def test_run_keeps_no_more_than_the_last_jobs(device, workshop, device_root):
    bundle = workshop.bundle()
    deliver(device, bundle)
    (device_root / "jobs/.doomed-1").mkdir()  # as a power cut may leave
    for _time in range(4):
        device.run(bundle.identity, RunRequest("infer", ()))
    assert len(list((device_root / "jobs").iterdir())) == 2
