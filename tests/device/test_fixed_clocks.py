"""Clocks pinned by the host's block: what it is told, and what ends it."""

import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from clock_tree import CPUFREQ, ClockTree
from device_life import deliver, ends

from device_agent.protocol import HEADER_BYTES, FrameReader
from edgekit.core.clocks import ClockPlan
from edgekit.core.errors import AgentError, ConnectionLostError, UsageError
from edgekit.core.events import Note
from edgekit.device import LocalAddress, RunRequest, connect
from edgekit.device.client import AgentClient

QUICK = ClockPlan(lease_s=2, renew_s=0.3)
GOVERNOR = f"{CPUFREQ}/policy0/scaling_governor"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    tree = ClockTree(tmp_path / "tree")
    monkeypatch.setenv("EDGEKIT_DEVICE_SYS", str(tree.sys))
    return tree


@pytest.fixture
def opened(tree, device):
    """A device on that tree."""
    return device


def becomes(tree, wanted, within_s=10.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if tree.settings() == wanted:
            return True
        time.sleep(0.02)
    return False


def test_clocks_are_pinned_within_the_block(opened, tree):
    before = tree.settings()
    with opened.fixed_clocks() as pin:
        assert pin.pinned.cores_pinned
        assert pin.pinned.why_not == ()
        assert pin.pinned.hint is None
        [little, big, gpu] = pin.pinned.clocks
        assert (little.name, little.cpus, little.kind) == ("policy0", (0, 1, 2, 3), "cpu")
        assert little.set == (("scaling_governor", "performance"),)
        assert little.was.governor == "schedutil"
        assert big.read_back.governor == "performance"
        assert gpu.read_back.min_hz == gpu.read_back.max_hz == 800_000_000
        assert str(gpu.read_back) == "simple_ondemand, 0.8 GHz"
        assert tree.text(GOVERNOR) == "performance"
        assert pin.released is None
    assert pin.released.held
    assert tree.settings() == before
    assert ends(pin.pinned.guardian_pid)


def test_clock_that_was_asked_for_is_read_back(opened, tree):
    plan = ClockPlan(khz=((0, 600000), (4, 1000000)), devices=False)
    with opened.fixed_clocks(plan) as pin:
        [little, big] = pin.pinned.clocks
        assert (little.asked_hz, little.read_back.min_hz, little.read_back.max_hz) == (
            600_000_000, 600_000_000, 600_000_000,
        )  # fmt: skip
        assert not big.pinned
        assert not pin.pinned.cores_pinned
        assert pin.pinned.refused == (big,)
        [sentence] = pin.pinned.why_not
        assert sentence.startswith("policy4 is not pinned (schedutil, 0.408 to 1.8 GHz): ")
        assert "does not offer this clock (408000 600000" in sentence
        assert "offered" in pin.pinned.hint


def test_block_lasts_longer_than_its_lease(opened, tree):
    with opened.fixed_clocks(QUICK) as pin:
        time.sleep(3.5)
        assert tree.text(GOVERNOR) == "performance"
    assert pin.released.held


def test_run_within_the_block_is_not_taken_for_cancelled(opened, tree, workshop):
    bundle = workshop.bundle("hang")
    deliver(opened, bundle)
    seen = []

    def listen(_event):
        time.sleep(3.0)
        seen.append(tree.text(GOVERNOR))
        raise KeyboardInterrupt

    before = tree.settings()
    with pytest.raises(KeyboardInterrupt), opened.fixed_clocks(QUICK):
        opened.run(bundle.identity, RunRequest("infer", ()), listen=listen)
    assert seen == ["performance"]
    # The conversation ended amidst: nobody can be asked, and the lease alone undoes it.
    assert becomes(tree, before)


def test_runs_and_pushes_go_on_among_signs_of_life(opened, tree, workshop):
    plan = ClockPlan(lease_s=10, renew_s=0.001)
    bundle = workshop.bundle()
    with opened.fixed_clocks(plan) as pin:
        deliver(opened, bundle)
        for number in range(10):
            frame = workshop.file(os.urandom(1_000_000 + number))
            assert opened.push([frame]).bytes_sent == frame.size_bytes
            opened.run(bundle.identity, RunRequest("infer", (frame.sha256,)))
    assert pin.released.held


def test_error_in_the_block_releases_and_passes_on(opened, tree):
    before = tree.settings()
    with pytest.raises(ValueError, match="mine"), opened.fixed_clocks() as pin:
        raise ValueError("mine")
    assert pin.released.held
    assert tree.settings() == before


def test_agent_killed_in_the_block_is_told_and_undone(opened, tree):
    before, notes = tree.settings(), []
    with opened.fixed_clocks(QUICK, notes.append) as pin:
        os.kill(opened._client._stream._process.pid, signal.SIGKILL)
        assert becomes(tree, before)
    assert pin.released is None
    [note] = notes
    assert note.warning
    assert "by itself" in note.text
    with pytest.raises(ConnectionLostError):
        opened.status()


def test_guardian_killed_in_the_block_is_told(opened, tree):
    before, notes = tree.settings(), []
    with opened.fixed_clocks(QUICK, notes.append) as pin:
        os.kill(pin.pinned.guardian_pid, signal.SIGKILL)
        assert becomes(tree, before)
    assert pin.released.ended == "guardian killed"
    assert not pin.released.held
    assert notes == [Note("the clocks were put back before the end: guardian killed", warning=True)]


def test_what_others_changed_meanwhile_is_told(opened, tree):
    notes = []
    with opened.fixed_clocks(QUICK, notes.append) as pin:
        tree.put(GOVERNOR, "powersave")
        tree.put("sys/class/devfreq/ff9a0000.gpu/max_freq", 400000000)
    path = GOVERNOR.removeprefix("sys/")
    assert pin.released.left == (path,)
    assert not pin.released.held
    assert tree.text(GOVERNOR) == "powersave"
    assert tree.text("sys/class/devfreq/ff9a0000.gpu/max_freq") == "800000000"
    assert [note.text for note in notes] == [
        f"{path} held powersave at the end, and was set to performance; it was left so",
        "class/devfreq/ff9a0000.gpu/max_freq held 400000000 at the end, and was set to 800000000",
    ]


@pytest.fixture
def leftover(tree, device_root):
    """What is left where a guardian and its agent are killed at once."""
    journal = device_root / "clocks.json"
    with connect(LocalAddress(root=device_root)) as first, first.fixed_clocks():
        kept, pinned = journal.read_bytes(), tree.settings()

    def leave():
        journal.write_bytes(kept)
        for path, text in pinned.items():
            tree.put(path, text)

    return leave


def test_former_sessions_leftover_is_put_back_and_told(tree, device_root, leftover):
    before, notes = tree.settings(), []
    told = Note("clocks that a former session had left pinned were put back")
    leftover()
    with connect(LocalAddress(root=device_root), emit=notes.append) as device:
        assert tree.settings() == before
        assert notes == [told]
        leftover()
        with device.fixed_clocks(QUICK, notes.append) as pin:
            assert pin.pinned.recovered.restored
        assert notes == [told, told]
    assert tree.settings() == before


def test_second_session_is_refused(opened, tree, tmp_path):
    with opened.fixed_clocks(), connect(LocalAddress(root=tmp_path / "other")) as other:
        with pytest.raises(AgentError, match="another session") as caught:
            other.fixed_clocks().__enter__()
        assert caught.value.code == "busy"


def test_lease_without_room_for_renewals_is_refused(opened, tree):
    plan = dataclasses.replace(QUICK, renew_s=1.1)
    with pytest.raises(UsageError, match="too short"):
        opened.fixed_clocks(plan).__enter__()


def test_device_without_cpufreq_is_told_so(device):
    if Path("/sys/devices/system/cpu/cpufreq/policy0").is_dir():
        pytest.skip("this machine lets its clocks be set, and a test must not")
    with device.fixed_clocks() as pin:
        assert not pin.pinned.cores_pinned
        [sentence] = pin.pinned.why_not
        assert "no cpufreq" in sentence


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.fixture
def nobodys_folder(monkeypatch):
    """A folder of a user without rights, whose processes this machine's agents are."""
    if os.getuid() != 0:
        pytest.skip("only root can start an agent for another user")
    if subprocess.run(["sh", "-c", "python3 -c ''"], check=False, **NOBODY).returncode != 0:
        pytest.skip("other users have no Python 3 here")
    start = partial(subprocess.Popen, **NOBODY)
    monkeypatch.setattr("edgekit.device.local.subprocess.Popen", start)
    # Other users cannot look into pytest's own folders.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)


def test_user_without_rights_is_told_which_file_and_what_to_do(nobodys_folder, monkeypatch):
    tree = ClockTree(nobodys_folder / "tree")
    monkeypatch.setenv("EDGEKIT_DEVICE_SYS", str(tree.sys))
    before = tree.settings()
    address = LocalAddress(root=nobodys_folder / "device")
    with connect(address) as device, device.fixed_clocks() as pin:
        assert pin.pinned.refused == pin.pinned.clocks
        assert tree.settings() == before
        assert pin.pinned.why_not[0] == (
            "policy0 is not pinned (schedutil, 0.408 to 1.416 GHz): "
            "scaling_governor: this user may not write it"
        )
        assert "docs/clocks.md" in pin.pinned.hint
    assert pin.released.held
    assert tree.settings() == before


def test_user_in_the_group_may_pin_what_the_group_may_write(nobodys_folder, monkeypatch):
    tree = ClockTree(nobodys_folder / "tree")
    monkeypatch.setenv("EDGEKIT_DEVICE_SYS", str(tree.sys))
    for path in tree.root.glob(f"{CPUFREQ}/policy*/scaling_m??_freq"):
        os.chown(path, 0, 65534)
        path.chmod(0o664)
    address = LocalAddress(root=nobodys_folder / "device")
    with connect(address) as device, device.fixed_clocks() as pin:
        assert pin.pinned.cores_pinned
        assert dict(pin.pinned.clocks[0].set) == {
            "scaling_min_freq": "1416000", "scaling_max_freq": "1416000",
        }  # fmt: skip
        assert [clock.name for clock in pin.pinned.refused] == ["ff9a0000.gpu"]
    assert pin.released.held


class Slow:
    """A stream that takes bytes one by one, so that writers meet in it."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        for byte in bytes(data):
            self.data.append(byte)
            if byte % 7 == 0:
                time.sleep(0)

    def close(self):
        return 0

    def diagnostics(self):
        return ""


def test_frames_of_two_threads_never_mix():
    stream = Slow()
    client = AgentClient("it", stream, FrameReader(lambda _size: b""))
    over = threading.Event()

    def renew():
        while not over.is_set():
            client.renew()

    threads = [threading.Thread(target=renew) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        client.submit("put", {"n": number}, content=iter([b"c" * 500, b"d" * 300]))
    over.set()
    for thread in threads:
        thread.join()
    left = bytearray(stream.data)

    def read(size):
        piece = bytes(left[:size])
        del left[:size]
        return piece

    reader, puts = FrameReader(read), 0
    while (frame := reader.frame()) is not None:
        if b'"put"' in frame[1]:
            puts += 1
            # Content follows its request, with nothing between them.
            assert [reader.frame()[1], reader.frame()[1]] == [b"c" * 500, b"d" * 300]
        else:
            assert frame[1] == b'{"verb":"renew"}'
    assert puts == 100
    assert len(stream.data) > 100 * (800 + 3 * HEADER_BYTES)


def test_closed_conversation_is_not_renewed():
    client = AgentClient("it", Slow(), FrameReader(lambda _size: b""))
    client.renew()
    client.close()
    with pytest.raises(ConnectionLostError):
        client.renew()
