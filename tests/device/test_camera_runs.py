"""Runs of a camera's pipeline, stopped and timed out: the record comes home all the same."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from device_life import deliver, ends, wait_for

from edgekit.core.bundle import RuntimePack
from edgekit.core.errors import AgentError, ConnectionLostError, RunnerError
from edgekit.device import LocalAddress, RunRequest, Watch, connect

# It does what the name of its source says; the file `pid` tells that it can be interrupted.
RUNNER = """
import json, os, signal, sys, time
job = json.load(open(sys.argv[1]))
name = job["pipeline"]["source"]["name"]
asked = []
if name == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
elif name != "quitter":
    signal.signal(signal.SIGINT, lambda *_: asked.append(1))
child = os.fork() if name == "parent" else -1
if child == 0:
    signal.signal(signal.SIGINT, lambda *_: open("child-interrupted", "w").close())
    time.sleep(600)
with open("pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("pid.new", "pid")
captured = 0
while not asked:
    captured += 1
    print(json.dumps({"event": "camera", "phase": "second", "captured": captured}), flush=True)
    if name == "short" and captured == 3:
        break
    time.sleep(0.05)
if name == "slow":
    time.sleep(1)
if name == "late":
    time.sleep(600)
if name == "crash":
    sys.stderr.write("fell while ending")
    os.abort()
if name == "parent":
    os.kill(child, signal.SIGKILL)
inputs = {each: open("inputs/" + each).read() for each in os.listdir("inputs")}
camera = {"captured": captured, "interrupted": bool(asked), "inputs": inputs, "path": sys.path,
          "pipeline": job["pipeline"], "frames": job["frames"],
          "bundle": job["bundle"], "lighter": job["lighter"],
          "child": os.path.exists("child-interrupted")}
open("camera.json", "w").write(json.dumps(camera))
open("answers.jsonl", "w").write("{}")
open("frames.npy", "wb").write(b"rows")
result = {"model_ns": [], "end_to_end_ns": [], "outputs": [], "answers": [], "versions": {}}
open("result.json", "w").write(json.dumps(result))
"""


@pytest.fixture
def camera(device, workshop):
    """Put a bundle with the pipeline's runner on the device; return how to run it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), RUNNER)
    runner = workshop.file(packed.getvalue(), "runner.pyz")
    bundle = workshop.bundle(files=(runner,))
    deliver(device, bundle)

    def run(name, emit=lambda _event: None, *, listen=None, stop=None, **changes):
        asked = {"timeout_s": 60.0, "grace_s": 30.0, **changes}
        pipeline = json.dumps({"source": {"kind": "drawn", "name": name}})
        request = RunRequest("camera", pipeline_json=pipeline, **asked)
        return device.run(bundle.identity, request, emit, listen, stop)

    return run


def read(result) -> dict:
    assert (result.camera / "frames.npy").read_bytes() == b"rows"
    return json.loads((result.camera / "camera.json").read_text())


def set_after(stop: threading.Event, count: int):
    """Return a listener that stops the run after so many of the runner's events."""
    heard = []

    def listen(event):
        heard.append(event)
        if len(heard) == count:
            stop.set()

    return listen


def stopped(run, name, **changes):
    stop = threading.Event()
    return run(name, listen=set_after(stop, 2), stop=stop, **changes)


def pid_of(device_root: Path) -> int:
    return int(wait_for(next((device_root / "jobs").glob("*/pid"))))


def test_pipeline_runs_to_its_end_and_the_record_comes_home(camera):
    heard = []
    result = camera("short", listen=heard.append, grace_s=0.0)
    assert result.cancelled is False
    record = read(result)
    assert record["captured"] == 3
    assert record["interrupted"] is False
    assert record["pipeline"] == {"source": {"kind": "drawn", "name": "short"}}
    assert record["frames"] == []
    assert [event["captured"] for event in heard] == [1, 2, 3]


def test_files_that_are_kept_come_home_where_they_were_written(camera):
    result = camera("short", kept=("answers.jsonl", "video.mkv"))
    assert (result.camera / "answers.jsonl").read_text() == "{}"
    assert not (result.camera / "video.mkv").exists()
    assert not (camera("short").camera / "answers.jsonl").exists()


def test_other_kinds_bring_no_record(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    assert device.run(bundle.identity, RunRequest("infer")).camera is None


@pytest.mark.parametrize("name", ["ready", "slow"])
def test_stopped_run_ends_by_itself_and_keeps_its_record(camera, device, name):
    result = stopped(camera, name)
    assert result.cancelled is True
    record = read(result)
    assert record["interrupted"] is True
    assert record["captured"] >= 2
    assert device.status().bundles  # the conversation goes on in its order


def test_stop_that_was_set_before_the_run_stops_it_all_the_same(camera, device):
    stop = threading.Event()
    stop.set()
    for _time in range(5):
        with pytest.raises(RunnerError, match="before there was anything to tell"):
            camera("quitter", stop=stop)
    assert device.status().bundles


def test_runner_alone_is_interrupted_not_what_it_started(camera):
    assert read(stopped(camera, "parent"))["child"] is False


def test_timed_out_run_ends_by_itself_and_keeps_its_record(camera):
    result = camera("slow", timeout_s=0.5)
    assert result.cancelled is True
    assert read(result)["interrupted"] is True


@pytest.mark.parametrize("name", ["deaf", "late"])
def test_runner_that_does_not_end_in_time_is_killed(camera, device, device_root, name):
    with pytest.raises(RunnerError, match="stopped"):
        stopped(camera, name, grace_s=0.5)
    assert ends(pid_of(device_root))
    assert device.status().bundles


def test_runner_that_does_not_end_after_its_time_is_killed(camera, device_root):
    with pytest.raises(RunnerError, match="did not end within"):
        camera("deaf", timeout_s=0.5, grace_s=0.5)
    assert ends(pid_of(device_root))


def test_stopped_twice_is_killed_at_once(camera, device, device_root):
    stop = threading.Event()

    def twice(_event):
        if not stop.is_set():
            stop.set()
            wait_for(next((device_root / "jobs").glob("*/pid")))
            device._client.submit("cancel")

    with pytest.raises(RunnerError, match="stopped"):
        camera("deaf", listen=twice, stop=stop, grace_s=600.0)  # longer than a test may take
    assert ends(pid_of(device_root))
    assert device.status().bundles


def test_stopped_run_without_grace_is_killed_and_tells_nothing(camera, device):
    with pytest.raises(RunnerError, match="the host ended the run"):
        stopped(camera, "ready", grace_s=0.0)
    assert device.status().bundles


def test_runner_that_quits_without_a_record_says_so(camera):
    with pytest.raises(RunnerError, match="before there was anything to tell"):
        stopped(camera, "quitter")


def test_runner_that_crashes_while_it_ends_is_a_runner_error(camera, device):
    with pytest.raises(RunnerError, match="fell while ending"):
        stopped(camera, "crash")
    assert device.status().bundles


def test_device_that_a_pipeline_keeps_says_so_and_how_to_end_it(camera, device, device_root):
    stop, refusals = threading.Event(), []
    [bundle] = device.status().bundles

    def try_as_another(_event):
        if not stop.is_set():
            with connect(LocalAddress(root=device_root)) as other:
                with pytest.raises(AgentError, match=r"at work on this device \(camera") as caught:
                    other.activate(bundle)
                refusals.append(caught.value)
            stop.set()

    camera("ready", listen=try_as_another, stop=stop)
    assert refusals[0].code == "busy"
    assert "Ctrl-C" in refusals[0].hint


def test_watched_run_that_is_stopped_keeps_what_was_seen(camera):
    result = stopped(camera, "slow", watch=Watch(period_s=0.2, power_hz=10))
    assert len(result.health) >= 3
    assert result.power is not None
    assert read(result)["interrupted"] is True


@pytest.mark.parametrize("grace_s", [-1, 601, float("nan")])
def test_grace_that_cannot_be_is_refused(camera, grace_s):
    with pytest.raises(AgentError, match="grace_s must lie between") as caught:
        camera("short", grace_s=grace_s)
    assert caught.value.code == "bad_request"


def test_pipeline_that_is_no_table_is_refused(camera, device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    for request in (RunRequest("camera"), RunRequest("camera", pipeline_json="[]")):
        with pytest.raises(AgentError, match="pipeline must be a dict"):
            device.run(bundle.identity, request)


def test_inputs_stand_under_their_names(camera, device, workshop):
    first, second = workshop.file(b"one"), workshop.file(b"two")
    device.push([first, second])
    inputs = ((first.sha256, "0001.jpg"), (second.sha256, "clip.mp4"))
    record = read(camera("short", inputs=inputs))
    assert record["inputs"] == {"0001.jpg": "one", "clip.mp4": "two"}


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ((("0" * 64, "clip.mp4"),), "not_found"),
        ((("0" * 64, "../clip.mp4"),), "bad_request"),
        ((("nothing", "clip.mp4"),), "bad_request"),
    ],
)
def test_inputs_that_cannot_be_are_refused(camera, inputs, code):
    with pytest.raises(AgentError) as caught:
        camera("short", inputs=inputs)
    assert caught.value.code == code


def test_runner_imports_from_the_runtimes_it_is_lent_after_its_own(camera, device, workshop):
    wheel = workshop.wheel({"lens.py": b"", "greeting.py": b"WORD = 'another'"}, "lens-1.whl")
    runtime = RuntimePack("lens-1", sys.executable, (wheel,))
    device.push(runtime.wheels)
    device.install_runtime(runtime)
    device.install_runtime(runtime)  # it is there already, and stays as it is
    [own, lent] = [path for path in read(camera("short", runtimes=("lens-1",)))["path"]
                   if "/runtimes/" in path]  # fmt: skip
    assert Path(own, "greeting.py").read_text() == "WORD = 'hello'"
    assert sorted(path.name for path in Path(lent).iterdir()) == ["greeting.py", "lens.py"]


def test_runtime_that_is_not_there_is_named(camera, device, workshop):
    with pytest.raises(AgentError, match="no runtime lens-2 is installed") as caught:
        camera("short", runtimes=("lens-2",))
    assert caught.value.code == "not_found"
    with pytest.raises(AgentError) as caught:
        camera("short", runtimes=("../lens",))
    assert caught.value.code == "bad_request"
    wheel = workshop.wheel({"lens.py": b""}, "lens-2.whl")
    unsent = RuntimePack("lens-2", sys.executable, (dataclasses.replace(wheel, sha256="0" * 64),))
    with pytest.raises(AgentError, match=r"not in the store: lens-2\.whl"):
        device.install_runtime(unsent)
    with pytest.raises(AgentError, match="has no wheels"):
        device.install_runtime(RuntimePack("lens-2", sys.executable, ()))


def test_lighter_bundles_of_the_same_runtime_are_described(camera, device, workshop, device_root):
    own = (("spin_count", 1000), ("threads", 1))
    lighter = workshop.bundle(model=b"half", precision="fp16", knobs=own)
    deliver(device, lighter)
    record = read(camera("short", lighter=((lighter.identity, (("spin_count", 0),)),)))
    [first] = set(device.status().bundles) - {lighter.identity}
    assert record["bundle"] == first
    assert record["lighter"] == [
        {"bundle": lighter.identity, "folder": str(device_root / "bundles" / lighter.identity),
         "job": {"mode": "good"}, "engine": "ncnn", "precision": "fp16",
         "knobs": {"spin_count": 0, "threads": 1}}
    ]  # fmt: skip


def test_lighter_bundle_that_cannot_take_over_is_refused(camera, device, workshop):
    other = workshop.bundle(engine="mnn")
    deliver(device, other)
    with pytest.raises(AgentError, match="mnn fp32 cannot take over"):
        camera("short", lighter=((other.identity, ()),))
    with pytest.raises(AgentError, match="is not installed"):
        camera("short", lighter=(("0" * 64, ()),))


CLIENT = """
import sys
from pathlib import Path
from edgekit.device import LocalAddress, RunRequest, connect
with connect(LocalAddress(root=Path(sys.argv[1]))) as device:
    pipeline = '{"source": {"kind": "drawn", "name": "deaf"}}'
    device.run(sys.argv[2], RunRequest("camera", pipeline_json=pipeline, grace_s=300.0))
"""


@pytest.mark.parametrize("deadly", [signal.SIGINT, signal.SIGKILL])
def test_lost_host_ends_the_runner_at_once_whatever_its_grace(camera, device, device_root, deadly):
    [bundle] = device.status().bundles
    host = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(device_root), bundle], stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 30
        while not list((device_root / "jobs").glob("*/pid")) and time.monotonic() < deadline:
            time.sleep(0.02)
        runner = pid_of(device_root)
        host.send_signal(deadly)
        host.communicate(timeout=30)
    finally:
        host.kill()
    assert ends(runner)


def test_host_lost_in_the_grace_ends_the_runner_at_once(camera, device, device_root):
    stop = threading.Event()
    agent = device._client._stream._process

    def listen(_event):
        if stop.is_set():
            os.kill(agent.pid, signal.SIGKILL)
        stop.set()

    with pytest.raises(ConnectionLostError):
        camera("deaf", listen=listen, stop=stop, grace_s=300.0)
    assert ends(pid_of(device_root))
