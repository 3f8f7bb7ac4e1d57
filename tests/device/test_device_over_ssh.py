"""The same agent behind a real sshd: a whole deployment, and links that are lost in the midst."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import has_ended

from edgekit.core.errors import ConnectionLostError
from edgekit.core.events import StepProgress
from edgekit.device import RunRequest, connect

pytestmark = pytest.mark.usefixtures("own_home")
SIZE = 4_000_000

CLIENT = """
import sys
from pathlib import Path
from edgekit.device import RunRequest, SshAddress, connect
host, user, port, identity, known_hosts, bundle = sys.argv[1:]
address = SshAddress(
    host, user, int(port), identity_file=Path(identity), known_hosts=Path(known_hosts)
)
with connect(address) as device:
    device.run(bundle, RunRequest("infer", ()))
"""


@pytest.fixture
def remote_root(sshd):
    return sshd.home / ".edgekit"


def wait_until(true, within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def runner_of(remote_root: Path) -> int:
    def pids():
        return [p.read_text() for p in (remote_root / "jobs").glob("*/pid") if p.read_text()]

    assert wait_until(pids)
    return int(pids()[0])


def test_whole_deployment_over_ssh(sshd, workshop, remote_root):
    bundle, frame = workshop.bundle(), workshop.file(b"frame")
    with connect(sshd.address) as device:
        assert device.facts.home == str(sshd.home)
        assert device.push([*bundle.content, frame]).files_sent == 4
        device.install(bundle)
        assert device.activate(bundle.identity).changed
        result = device.run(bundle.identity, RunRequest("infer", (frame.sha256,)))
        assert result.answers == ("frame",)
        assert result.outputs[0]["output0"].read_bytes() == b"output of frame"
    assert (remote_root / "current").resolve().name == "1"
    with connect(sshd.address) as device:
        assert device.push([*bundle.content, frame]).bytes_sent == 0
        assert device.status().current.bundle == bundle.identity


def test_session_killed_in_mid_push_goes_on_with_the_next(sshd, workshop, remote_root):
    data = os.urandom(SIZE)
    file = workshop.file(data)

    def kill_at_half(event):
        if isinstance(event, StepProgress) and event.done >= SIZE // 2:
            sshd.signal_sessions(signal.SIGKILL)

    with pytest.raises(ConnectionLostError), connect(sshd.address) as device:
        device.push([file], kill_at_half)
    with connect(sshd.address) as device:
        assert 0 < device.push([file]).bytes_sent < SIZE
    assert (remote_root / "store" / file.sha256).read_bytes() == data


def test_session_killed_in_mid_run_ends_the_runner(sshd, workshop, remote_root):
    bundle = workshop.bundle("hang")

    def kill(_event):
        sshd.signal_sessions(signal.SIGKILL)

    with connect(sshd.address) as device:
        device.push(bundle.content)
        device.install(bundle)
        device.activate(bundle.identity)
        with pytest.raises(ConnectionLostError):
            device.run(bundle.identity, RunRequest("infer", ()), kill)
    runner = runner_of(remote_root)
    assert wait_until(lambda: has_ended(runner))
    with connect(sshd.address) as device:
        assert device.activate(bundle.identity).changed is False


@pytest.mark.parametrize("deadly", [signal.SIGINT, signal.SIGKILL])
def test_host_that_dies_in_mid_run_ends_the_runner(sshd, workshop, remote_root, deadly):
    bundle = workshop.bundle("hang")
    with connect(sshd.address) as device:
        device.push(bundle.content)
        device.install(bundle)
    where = sshd.address
    told = (where.host, where.user, where.port, where.identity_file, where.known_hosts)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, *map(str, told), bundle.identity], stderr=subprocess.PIPE
    )
    try:
        runner = runner_of(remote_root)
        client.send_signal(deadly)
        client.communicate(timeout=30)
    finally:
        client.kill()
    assert wait_until(lambda: has_ended(runner))
