"""Commands and streams over a real sshd."""

import os
import pwd
import shlex
import threading
from pathlib import Path

import pytest

from edgekit.core.errors import ConnectionLostError, UnreachableError
from edgekit.device.ssh import SshTransport

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def transport(sshd):
    transport = SshTransport(sshd.address)
    yield transport
    transport.close()


def read_all(stream):
    parts = []
    while data := stream.read(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_name_is_what_the_user_said(transport, sshd):
    assert transport.name == f"{sshd.user}@127.0.0.1:{sshd.port}"


def test_command_gets_its_arguments_unchanged(transport):
    words = ["a b", "$HOME", "'", '"', "*", "\\", ""]
    stream = transport.open(["printf", r"%s\n", *words])
    assert read_all(stream).decode().split("\n") == [*words, ""]
    assert stream.close() == 0


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_large_writes_arrive_whole(transport, wrap):
    data = os.urandom(5_000_003)
    stream = transport.open(["sh", "-c", "cat"])
    received = []
    reader = threading.Thread(target=lambda: received.append(read_exactly(stream, len(data))))
    reader.start()
    stream.write(wrap(data))
    reader.join()
    assert received == [data]
    assert stream.close() == 0


def read_exactly(stream, size):
    parts = []
    while size:
        data = stream.read(size)
        assert data
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def test_memoryview_of_wider_items_is_written_by_bytes(transport):
    import array

    numbers = array.array("I", range(1000))
    stream = transport.open(["head", "-c", "4000"])
    stream.write(memoryview(numbers))
    assert read_all(stream) == numbers.tobytes()
    stream.close()


def test_exit_status_is_returned(transport):
    assert transport.open(["sh", "-c", "exit 7"]).close() == 7


def test_exit_by_signal_has_no_status(transport):
    stream = transport.open(["sh", "-c", "kill -9 $$"])
    read_all(stream)
    assert stream.close() is None


def test_much_standard_error_does_not_block(transport):
    # More than the window of the channel, which standard output has to share.
    script = "head -c 8000000 /dev/zero | tr '\\0' e >&2; echo last words >&2; echo done"
    stream = transport.open(["sh", "-c", script])
    assert read_all(stream) == b"done\n"
    stream.close()
    assert stream.diagnostics().endswith("last words\n")


def test_writing_to_a_command_that_ended_says_what_it_said(transport):
    stream = transport.open(["sh", "-c", "echo no python here >&2; exit 127"])
    with pytest.raises(ConnectionLostError, match="ended before") as caught:
        stream.write(bytes(20 << 20))
    assert "no python here" in caught.value.hint
    assert stream.close() == 127


def test_unread_output_does_not_hinder_close(transport):
    stream = transport.open(["sh", "-c", "head -c 8000000 /dev/zero; exit 3"])
    assert stream.close() == 3


def test_channels_are_independent(transport):
    streams = [transport.open(["sh", "-c", f"read x; echo {n} $x"]) for n in range(5)]
    for number, stream in reversed(list(enumerate(streams))):
        stream.write(b"hello\n")
        assert read_all(stream) == f"{number} hello\n".encode()
        assert stream.close() == 0


def test_parallel_streams_do_not_mix(transport):
    blocks = [bytes([n]) * 2_000_000 for n in range(4)]
    results = {}

    def exchange(number):
        stream = transport.open(["cat"])
        writer = threading.Thread(target=stream.write, args=(blocks[number],))
        writer.start()
        results[number] = read_exactly(stream, len(blocks[number]))
        writer.join()
        stream.close()

    threads = [threading.Thread(target=exchange, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[n] for n in range(4)] == blocks


def test_noise_of_a_login_shell_comes_ahead_of_the_command(sshd, transport):
    # The agent's magic greeting exists for this; the transport must not hide or lose bytes.
    shell = Path(pwd.getpwuid(os.getuid()).pw_shell).name
    if shell not in {"bash", "zsh"}:
        pytest.skip(f"the login shell here is {shell}, which reads no file for a command")
    for name in (".bashrc", ".zshenv"):
        (sshd.home / name).write_text("echo Welcome to the board\necho oops >&2\n")
    stream = transport.open(["echo", "magic"])
    assert read_all(stream) == b"Welcome to the board\nmagic\n"
    stream.close()
    assert stream.diagnostics() == "oops\n"


def test_pre_login_banner_is_skipped(make_sshd, tmp_path):
    (tmp_path / "banner").write_text("AUTHORISED USE ONLY\n" * 50)
    sshd = make_sshd(Banner=str(tmp_path / "banner"))
    transport = SshTransport(sshd.address)
    stream = transport.open(["echo", "hi"])
    assert read_all(stream) == b"hi\n"
    stream.close()
    transport.close()


def test_agent_is_not_forwarded(transport):
    stream = transport.open(["sh", "-c", "echo [$SSH_AUTH_SOCK]"])
    assert read_all(stream) == b"[]\n"
    stream.close()


def test_refused_channel_is_told_apart_from_a_lost_link(make_sshd):
    sshd = make_sshd(MaxSessions="1")
    transport = SshTransport(sshd.address)
    first = transport.open(["cat"])
    with pytest.raises(UnreachableError, match="does not start echo"):
        transport.open(["echo"])
    first.write(b"still here")
    assert first.read(10) == b"still here"
    first.close()
    transport.close()


def test_close_leaves_no_thread_and_ends_the_command(sshd, tmp_path):
    before = set(threading.enumerate())
    transport = SshTransport(sshd.address)
    mark = tmp_path / "ended"
    transport.open(["sh", "-c", f"cat; touch {shlex.quote(str(mark))}"])
    transport.close()
    transport.close()
    assert set(threading.enumerate()) <= before
    assert mark.exists()


def test_change_of_keys_in_mid_stream_loses_nothing(make_sshd):
    sshd = make_sshd(RekeyLimit="1M")
    transport = SshTransport(sshd.address)
    data = os.urandom(20_000_000)
    stream = transport.open(["cat"])
    writer = threading.Thread(target=stream.write, args=(data,))
    writer.start()
    received = read_exactly(stream, len(data))
    writer.join()
    assert received == data
    assert stream.close() == 0
    transport.close()
