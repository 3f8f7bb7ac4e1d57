"""The agent over a real SSH link: noise at login, a link that breaks, and going on after it."""

import hashlib
import os
import signal
import threading

import pytest

from edgekit.core.bundle import BundleFile
from edgekit.core.errors import ConnectionLostError
from edgekit.core.events import StepProgress, ignore
from edgekit.device import connect

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def content(tmp_path):
    def make(size_bytes):
        data = os.urandom(size_bytes)
        path = tmp_path / f"content-{size_bytes}"
        path.write_bytes(data)
        return BundleFile(path.name, hashlib.sha256(data).hexdigest(), size_bytes, path)

    return make


def stored(sshd, file):
    return (sshd.home / ".edgekit" / "store" / file.sha256).read_bytes()


def test_agent_comes_up_and_content_travels_once(sshd, content):
    file = content(3_000_001)
    with connect(sshd.address) as device:
        assert device.facts.home == str(sshd.home)
        assert device.push([file], ignore).bytes_sent == file.size_bytes
        assert device.push([file], ignore).bytes_sent == 0
    with connect(sshd.address) as device:
        assert device.push([file], ignore).bytes_sent == 0
    assert stored(sshd, file) == file.source.read_bytes()


def test_noise_at_login_does_not_confuse_the_agent(sshd, content):
    noise = "printf 'Welcome \\000 to \\001 the board\\n%.0s' $(seq 500); echo oops >&2\n"
    for name in (".bashrc", ".zshenv", ".kshrc"):
        (sshd.home / name).write_text(noise)
    file = content(100_000)
    with connect(sshd.address) as device:
        assert device.push([file], ignore).bytes_sent == file.size_bytes


def test_device_lost_in_mid_push_is_told_and_the_next_push_goes_on(sshd, content):
    file = content(30_000_000)
    threads = set(threading.enumerate())

    def cut(event):
        if isinstance(event, StepProgress) and event.done > file.size_bytes // 2:
            sshd.signal_sessions(signal.SIGKILL)

    with pytest.raises(ConnectionLostError), connect(sshd.address) as device:
        device.push([file], cut)
    assert set(threading.enumerate()) <= threads
    with connect(sshd.address) as device:
        sent = device.push([file], ignore).bytes_sent
    assert 0 < sent < file.size_bytes
    assert stored(sshd, file) == file.source.read_bytes()
