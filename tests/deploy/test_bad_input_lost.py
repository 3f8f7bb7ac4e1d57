"""Devices that are lost in mid-work: nothing is half-activated, and the next call goes on."""

import contextlib
import json
import signal
import subprocess
import threading
import time

import odd_onnx
import pytest
from processes import assert_nothing_runs_below

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

ONE = ("--quick", "--target", "local", "--engine", "ncnn", "--precision", "fp32", "--runs", "2")
QUICK = (*ONE, "--seconds", "0")


@pytest.fixture
def users_cache(monkeypatch):
    """Keep the user's cache in place while HOME is another: toolboxes take minutes to make."""
    from edgekit.catalog.settings import settings

    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(settings().cache_dir))


@pytest.fixture
def device(users_cache, sshd, own_home, own_state):
    """The sshd, as a device in the user's own OpenSSH configuration."""
    (own_home / ".ssh" / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n"
        f"  IdentityFile {sshd.identity}\n  UserKnownHostsFile {sshd.known_hosts}\n"
    )
    return sshd


@contextlib.contextmanager
def lost_when(sshd, true):
    """Kill the device's sessions as soon as ``true`` holds; fail if it never did."""
    over, struck = threading.Event(), threading.Event()

    def watch():
        while not over.is_set():
            if true():
                sshd.signal_sessions(signal.SIGKILL)
                struck.set()
                return
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert struck.is_set(), "the moment never came"


def size_below(folder):
    if not folder.is_dir():
        return 0
    with contextlib.suppress(FileNotFoundError):  # what arrived whole is moved away
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def measurements(root):
    """Name the jobs below ``root`` that measure."""
    found = set()
    for job in (root / "jobs").glob("[0-9]*/job.json"):  # others are being discarded
        with contextlib.suppress(OSError, ValueError):  # it is written, or discarded, meanwhile
            if json.loads(job.read_text(encoding="utf-8"))["kind"] == "time":
                found.add(job)
    return found


def steps_started(finished):
    return {line["step"] for line in finished.lines if line.get("event") == "step_started"}


def test_device_lost_in_mid_push_goes_on_with_the_next_call(device, refused, edgekit, tmp_path):
    assert edgekit("devices", "add", "board", "board").code == 0
    where = ("--device", "board")
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    root = device.home / ".edgekit"
    with lost_when(device, lambda: size_below(root / "partial") > 2_000_000):
        said = refused(3, "deploy", model, *QUICK, *where)
    assert "lost board in mid-work" in said
    assert "run the same command again" in said
    assert edgekit("status", *where).result["current"] is None
    kept = size_below(root / "partial") + size_below(root / "store")
    done = edgekit("deploy", model, *QUICK, *where)
    assert done.code == 0
    assert done.result["transfer"]["bytes_sent"] == size_below(root / "store") - kept
    assert done.result["active"]["current"] == done.result["chosen"]["bundle"]


def test_device_lost_in_mid_bench_keeps_what_was_active(device, refused, edgekit, tmp_path):
    assert edgekit("devices", "add", "board", "board").code == 0
    where = ("--device", "board")
    old = edgekit("deploy", odd_onnx.classifier(tmp_path / "old.onnx"), *QUICK, *where)
    assert old.code == 0
    root = device.home / ".edgekit"
    before = measurements(root)
    new = odd_onnx.classifier(tmp_path / "new.onnx", channels=16)
    with lost_when(device, lambda: measurements(root) - before):
        said = refused(3, "deploy", new, *ONE, "--seconds", "60", *where)
    assert "lost board in mid-work" in said
    assert_nothing_runs_below(root / "jobs")
    status = edgekit("status", *where).result
    assert status["current"]["bundle"] == old.result["active"]["current"]
    assert status["previous"] is None
    done = edgekit("deploy", new, *QUICK, *where)
    assert done.code == 0
    # What had been found out by then is not asked for again.
    assert "compare:ncnn:fp32" in steps_started(old)
    assert "compare:ncnn:fp32" not in steps_started(done)
    assert done.result["transfer"]["bytes_sent"] == 0
    assert done.result["active"]["previous"] == old.result["active"]["current"]


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Mount a file system of 40 MB as the device's root: wheels fit, what is in them does not."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_disk_that_fills_up_keeps_what_was_sent(refused, edgekit, tmp_path, small_disk):
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    said = refused(3, "deploy", model, *QUICK)
    assert "free some space on the device" in said
    status = edgekit("status", "--device", "local")
    assert status.code == 0
    assert status.result["current"] is None
    assert not list((small_disk / "generations").iterdir())
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    done = edgekit("deploy", model, *QUICK)
    assert done.code == 0
    assert done.result["transfer"]["bytes_sent"] == 0
    assert done.result["active"]["current"] == done.result["chosen"]["bundle"]
