"""The whole of a device's life, over a real agent in a process of its own."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    EdgekitError,
    NoPythonError,
    RunnerError,
    WrongDeviceError,
)
from edgekit.core.events import StepFinished, StepProgress
from edgekit.device import LocalAddress, RunRequest, check_target, connect


def deliver(device, bundle):
    transfer = device.push(bundle.content)
    device.install(bundle)
    return transfer


def ends(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path, within_s: float = 10.0) -> str:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def test_facts_tell_of_this_machine(device, device_root):
    assert device.facts.machine == os.uname().machine
    assert device.facts.hostname == os.uname().nodename
    assert device.facts.cpu_usable == len(os.sched_getaffinity(0))
    assert device.facts.emulated is False
    mine = device.facts.pythons[0]
    assert mine.executable == sys.executable
    assert mine.version == ".".join(map(str, sys.version_info[:3]))
    import numpy as np

    assert mine.numpy == np.__version__
    assert device_root.is_dir()


def test_push_sends_only_what_is_missing(device, workshop):
    first, second = workshop.file(b"a" * 700_000), workshop.file(b"")
    events = []
    sent = device.push([first, second, first], events.append)
    assert (sent.files_sent, sent.bytes_sent, sent.files_present) == (2, 700_000, 0)
    assert [e.done for e in events if isinstance(e, StepProgress)][-1] == 700_000
    again = device.push([first, second])
    assert (again.files_sent, again.bytes_sent, again.files_present) == (0, 0, 2)


def test_push_of_many_small_files_sends_them_all(device, workshop, device_root):
    files = [workshop.file(str(index).encode()) for index in range(300)]
    assert device.push(files).files_sent == 300
    for file in files:
        assert (device_root / "store" / file.sha256).read_bytes() == file.source.read_bytes()


def test_push_of_content_changed_on_the_host_is_refused_and_not_kept(device, workshop, device_root):
    file = workshop.file(b"x" * 1000)
    file.source.write_bytes(b"y" * 1000)
    with pytest.raises(AgentError) as caught:
        device.push([file])
    assert caught.value.code == "hash_mismatch"
    assert not (device_root / "store" / file.sha256).exists()
    assert not (device_root / "partial" / file.sha256).exists()
    file.source.write_bytes(b"x" * 1000)
    assert device.push([file]).files_sent == 1


def test_push_of_a_shortened_file_is_refused_before_anything_is_sent(device, workshop):
    file = workshop.file(b"x" * 1000)
    file.source.write_bytes(b"x")
    with pytest.raises(EdgekitError, match="not what it was"):
        device.push([file])
    assert device.status().current is None  # the conversation goes on


def test_push_after_damaged_partial_content_sends_it_whole(device, workshop, device_root):
    file = workshop.file(os.urandom(600_000))
    (device_root / "partial" / file.sha256).write_bytes(bytes(300_000))  # a power cut's zeros
    sent = device.push([file])
    assert sent.bytes_sent == 600_000
    assert (device_root / "store" / file.sha256).read_bytes() == file.source.read_bytes()


def test_install_links_files_and_unpacks_wheels(device, workshop, device_root):
    bundle = workshop.bundle()
    events = []
    device.push(bundle.content)
    device.install(bundle, events.append)
    folder = device_root / "bundles" / bundle.identity
    assert (folder / "manifest.json").read_bytes() == bundle.manifest_bytes
    assert (folder / "model/net.bin").read_bytes() == b"weights"
    runtime = device_root / "runtimes" / bundle.runtime.identity
    assert (runtime / "merged.py").is_file()
    assert not list(runtime.rglob("tool"))
    device.install(bundle, events.append)
    assert [e.detail for e in events if isinstance(e, StepFinished)] == ["", "was there already"]


def test_install_without_content_names_what_is_absent(device, workshop):
    bundle = workshop.bundle()
    with pytest.raises(AgentError, match=r"model/net\.bin") as caught:
        device.install(bundle)
    assert caught.value.code == "not_found"


def test_install_for_another_architecture_is_refused(device, workshop):
    bundle = workshop.bundle(architecture="armv7l")
    device.push(bundle.content)
    with pytest.raises(WrongDeviceError, match="armv7l"):
        device.install(bundle)


def test_install_for_another_board_is_refused(device, workshop):
    bundle = workshop.bundle(compatible=("rockchip,rk3566",))
    device.push(bundle.content)
    with pytest.raises(WrongDeviceError, match=r"rockchip,rk3566"):
        device.install(bundle)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "a\\..\\b"])
def test_install_of_an_archive_that_leads_outside_is_refused(device, workshop, device_root, name):
    wheel = workshop.wheel({"fine.py": b"", name: b"bad"})
    plain = workshop.bundle()
    bundle = dataclasses.replace(
        plain, runtime=dataclasses.replace(plain.runtime, identity="evil", wheels=(wheel,))
    )
    device.push(bundle.content)
    with pytest.raises(AgentError) as caught:
        device.install(bundle)
    assert caught.value.code == "unsafe_archive"
    assert not list(device_root.rglob("outside"))
    assert not (device_root / "runtimes" / "evil").exists()


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".", ""])
def test_install_of_a_manifest_path_that_leads_outside_is_refused(device, workshop, path):
    plain = workshop.bundle()
    bad = dataclasses.replace(plain.files[0], path=path)
    bundle = dataclasses.replace(plain, files=(bad, plain.files[1]))
    device.push(bundle.content)
    with pytest.raises(AgentError) as caught:
        device.install(bundle)
    assert caught.value.code == "bad_request"


def test_activate_and_rollback_walk_the_generations(device, workshop):
    one, two, three = (workshop.bundle(model=data) for data in (b"1", b"2", b"3"))
    for bundle in (one, two, three):
        deliver(device, bundle)
    assert device.status().activation is None
    first = device.activate(one.identity)
    assert (first.current, first.previous, first.generation, first.changed) == (
        one.identity, None, 1, True,
    )  # fmt: skip
    assert device.activate(one.identity).changed is False
    assert device.activate(two.identity).previous == one.identity
    back = device.rollback()
    assert (back.current, back.previous, back.generation) == (one.identity, None, 1)
    with pytest.raises(AgentError) as caught:
        device.rollback()
    assert caught.value.code == "no_previous"
    last = device.activate(three.identity)
    assert (last.previous, last.generation) == (one.identity, 3)
    status = device.status()
    assert status.current.bundle == three.identity
    assert status.current.engine == "ncnn"
    assert status.current.knobs == (("threads", 2),)
    assert status.activation.previous == one.identity
    assert set(status.bundles) == {one.identity, two.identity, three.identity}


def test_activate_of_what_is_not_installed_leaves_current(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    device.activate(bundle.identity)
    with pytest.raises(AgentError) as caught:
        device.activate("0" * 64)
    assert caught.value.code == "not_found"
    assert device.status().current.bundle == bundle.identity


def test_run_brings_samples_outputs_and_answers(device, workshop, tmp_path):
    bundle = workshop.bundle()
    deliver(device, bundle)
    frames = [workshop.file(b"one"), workshop.file(b"PK two")]
    device.push(frames)
    events = []
    request = RunRequest("bench", tuple(frame.sha256 for frame in frames), threads=3)
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


def test_run_with_many_large_outputs_brings_them_all(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    frame = workshop.file(b"x" * 5000)
    device.push([frame])
    result = device.run(bundle.identity, RunRequest("infer", (frame.sha256,) * 1000))
    assert len(result.outputs) == 1000
    assert {files["output0"].stat().st_size for files in result.outputs} == {5010}


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


def test_run_over_its_time_ends_the_whole_group(device, workshop, device_root):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    with pytest.raises(RunnerError, match="did not end within"):
        device.run(bundle.identity, RunRequest("infer", (), timeout_s=0.5))
    leader = int(next((device_root / "jobs").glob("*/pid")).read_text())
    assert not [pid for pid in _group(leader) if not ends(pid)]


def _group(leader: int) -> list[int]:
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == leader:
            members.append(int(stat.parent.name))
    return members


def test_run_with_a_python_that_is_absent_says_so(device, workshop):
    plain = workshop.bundle()
    bundle = dataclasses.replace(
        plain, runtime=dataclasses.replace(plain.runtime, python="/no/such/python3")
    )
    deliver(device, bundle)
    with pytest.raises(NoPythonError, match="/no/such/python3"):
        device.run(bundle.identity, RunRequest("infer", ()))


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


def test_run_ends_when_the_agent_is_killed(device, workshop, device_root):
    bundle = workshop.bundle("hang")
    deliver(device, bundle)
    agent = device._client._stream._process

    def kill(_event):
        agent.kill()

    with pytest.raises(ConnectionLostError):
        device.run(bundle.identity, RunRequest("infer", ()), kill)
    runner = int(next((device_root / "jobs").glob("*/pid")).read_text())
    assert ends(runner)
    for child in _group(runner):  # the kernel ends the runner itself; this one's child is ours
        os.kill(child, signal.SIGKILL)


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


def test_gc_keeps_current_and_previous(device, workshop, device_root):
    bundles = [workshop.bundle(model=data) for data in (b"1", b"2", b"3", b"4")]
    for bundle in bundles:
        deliver(device, bundle)
    device.push([workshop.file(b"not of any bundle")])
    for bundle in bundles[:3]:
        device.activate(bundle.identity)
    assert device.gc() == 0  # all of it is young
    assert device.gc(grace_s=-1) >= len(b"not of any bundle") + 2
    assert set(device.status().bundles) == {bundle.identity for bundle in bundles[1:3]}
    content = {file.sha256 for bundle in bundles[1:3] for file in bundle.content}
    assert {path.name for path in (device_root / "store").iterdir()} == content
    assert device.rollback().current == bundles[1].identity
    with pytest.raises(AgentError):
        device.rollback()
    device.run(bundles[1].identity, RunRequest("infer", ()))


def test_check_target_refuses_another_architecture_and_another_board(device):
    from edgekit.core.target import Cluster, Target

    mine = Target("local", "this", "any", device.facts.machine, (Cluster("x", 1, 1),), "native", "")
    check_target(device.facts, mine)
    with pytest.raises(WrongDeviceError, match="armv7l"):
        check_target(device.facts, dataclasses.replace(mine, architecture="armv7l"))
    board = dataclasses.replace(mine, compatible=("rockchip,rk3566",))
    with pytest.raises(WrongDeviceError, match="no device tree"):
        check_target(device.facts, board)
    facts = dataclasses.replace(device.facts, compatible=("radxa,rock3a", "rockchip,rk3566"))
    check_target(facts, board)


def test_run_keeps_no_more_than_the_last_jobs(device, workshop, device_root):
    bundle = workshop.bundle()
    deliver(device, bundle)
    (device_root / "jobs/.doomed-1").mkdir()  # as a power cut may leave
    for _time in range(4):
        device.run(bundle.identity, RunRequest("infer", ()))
    assert len(list((device_root / "jobs").iterdir())) == 2


def test_gc_removes_agents_of_former_releases_alone(device, device_root):
    (own,) = (device_root / "agent").iterdir()
    former, recent = own.with_name("agent-0.pyz"), own.with_name("agent-1.pyz")
    for path in (former, recent):
        path.write_bytes(b"agent")
    long_ago = time.time() - 40 * 24 * 3600
    for path in (former, own):
        os.utime(path, (long_ago, long_ago))
    assert device.gc() == len(b"agent")
    assert sorted((device_root / "agent").iterdir()) == sorted([own, recent])
