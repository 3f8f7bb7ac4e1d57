"""What happens when the device is lost: a prompt, clear error, and nothing left hanging."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from edgekit.core.errors import ConnectionLostError, UnreachableError
from edgekit.device.address import SshAddress
from edgekit.device.ssh import SshTransport
from edgekit.device.ssh_link import Limits

pytestmark = pytest.mark.usefixtures("own_home")

CHILD = """
import sys
from pathlib import Path
from edgekit.device.address import SshAddress
from edgekit.device.ssh import SshTransport
from edgekit.device.ssh_link import Limits
_, user, port, key, known = sys.argv
address = SshAddress(
    "127.0.0.1", user=user, port=int(port), identity_file=Path(key), known_hosts=Path(known)
)
transport = SshTransport(address, limits=Limits(ask_after_s=0.5, lost_after_s=2.0, end_s=2.0))
stream = transport.open(["sh", "-c", "read x; echo $x; cat"])
print("up", flush=True)
try:
    sys.stdin.readline()
    stream.write(b"still there\\n")
    print(stream.read(100).decode(), flush=True)
    stream.read(1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    transport.close()
"""

QUICK = Limits(ask_after_s=0.5, lost_after_s=2.0, end_s=2.0)
# Far above QUICK.lost_after_s: whether it comes at all is tested, not how fast.
BOUND_S = 60


@pytest.fixture
def transport(sshd):
    transport = SshTransport(sshd.address, limits=QUICK)
    yield transport
    sshd.signal_sessions(signal.SIGCONT)
    transport.close()


def outcome_of(work, *arguments):
    """Run ``work`` in a thread; return what it raised, or fail if it hangs."""
    caught = []

    def run():
        try:
            while True:
                work(*arguments)
        except ConnectionLostError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert caught, "it neither ended nor failed"
    return caught[0]


def after(seconds, work, *arguments):
    timer = threading.Timer(seconds, work, arguments)
    timer.start()
    return timer


def test_link_cut_while_writing_is_lost(sshd, transport):
    stream = transport.open(["sh", "-c", "cat > /dev/null"])
    after(0.3, sshd.signal_sessions, signal.SIGKILL)
    error = outcome_of(stream.write, bytes(1 << 20))
    assert "lost" in error.message
    assert transport.name.split("@")[1].split(":")[0] in error.message
    assert "same command again" in error.hint


def test_link_cut_while_reading_is_lost(sshd, transport):
    stream = transport.open(["cat"])
    after(0.3, sshd.signal_sessions, signal.SIGKILL)
    assert "the link was cut" in outcome_of(stream.read, 10).message


def test_silent_host_while_writing_is_lost(sshd, transport):
    stream = transport.open(["sh", "-c", "cat > /dev/null"])
    after(0.3, sshd.signal_sessions, signal.SIGSTOP)
    assert "no sign of life" in outcome_of(stream.write, bytes(1 << 20)).message


def test_silent_host_while_reading_is_lost(sshd, transport):
    stream = transport.open(["cat"])
    sshd.signal_sessions(signal.SIGSTOP)
    assert "no sign of life" in outcome_of(stream.read, 10).message


def test_silent_host_while_opening_is_lost(sshd, transport):
    sshd.signal_sessions(signal.SIGSTOP)
    assert "no sign of life" in outcome_of(transport.open, ["true"]).message


def test_closing_a_silent_link_does_not_hang(sshd, transport):
    transport.open(["cat"])
    sshd.signal_sessions(signal.SIGSTOP)
    thread = threading.Thread(target=transport.close, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive()


def test_closing_a_lost_link_is_quiet(sshd, transport):
    stream = transport.open(["cat"])
    sshd.signal_sessions(signal.SIGKILL)
    outcome_of(stream.read, 1)
    assert stream.close() is None
    transport.close()
    with pytest.raises(ConnectionLostError):
        stream.read(1)


@pytest.mark.slow
def test_idle_link_outlives_the_limit(transport):
    stream = transport.open(["cat"])
    time.sleep(QUICK.lost_after_s * 2)
    stream.write(b"still there")
    assert stream.read(100) == b"still there"
    stream.close()


@pytest.mark.slow
def test_slow_command_is_not_taken_for_a_lost_link(transport):
    # It reads nothing, so the window closes and the writer waits: the host itself answers.
    stream = transport.open(["sh", "-c", f"sleep {QUICK.lost_after_s * 2}; wc -c"])
    stream.write(bytes(8 << 20))
    stream.close()


def test_end_of_command_is_no_loss(transport):
    stream = transport.open(["true"])
    assert stream.read(10) == b""
    assert stream.close() == 0


def test_handshake_with_a_mute_server_is_bounded():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = SshAddress("127.0.0.1", port=mute.getsockname()[1])
        with pytest.raises(UnreachableError, match="not as an SSH server"):
            SshTransport(address, limits=Limits(login_s=1.0))


def test_handshake_that_breaks_leaves_no_thread():
    before = set(threading.enumerate())

    def greet(server):
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        with pytest.raises(UnreachableError, match="not as an SSH server"):
            SshTransport(SshAddress("127.0.0.1", port=server.getsockname()[1]))
        thread.join()
    # A timer that would go off only after Limits.login_s may take a moment to see its end.
    for left in set(threading.enumerate()) - before:
        left.join(5)
    assert set(threading.enumerate()) <= before


@pytest.fixture
def child(sshd):
    """A process of its own that holds a link."""
    words = (sshd.user, str(sshd.port), str(sshd.identity), str(sshd.known_hosts))
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_process_that_was_stopped_keeps_its_link(child):
    child.send_signal(signal.SIGSTOP)
    time.sleep(QUICK.lost_after_s * 2)
    child.send_signal(signal.SIGCONT)
    child.stdin.write(b"\n")
    assert child.stdout.readline() == b"still there\n"


def test_interrupt_while_reading_ends_the_process_cleanly(child):
    child.stdin.write(b"\n")
    assert child.stdout.readline() == b"still there\n"
    assert child.stdout.readline() == b"\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == b"interrupted\n"
    assert child.wait(BOUND_S) == 0
    assert child.stderr.read() == b""
