"""The agent's end of the link: cancel, a host that goes away, a link that stands still."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import has_ended

from device_agent import channel
from device_agent.channel import Channel, HostGoneError
from device_agent.protocol import (
    READY,
    FrameReader,
    ProtocolError,
    data_frame,
    json_frame,
    message_of,
)

REPOSITORY = Path(__file__).parents[2]
SLEEPER = b"import time, os\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


class Agent:
    """A real agent, spoken to frame by frame."""

    def __init__(self, root: Path) -> None:
        script = (
            "import sys; sys.path.insert(0, sys.argv[1]); from device_agent.server import main; "
            "sys.exit(main(sys.argv[2:]))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", script, str(REPOSITORY), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.reader = FrameReader(self.process.stdout.read)
        assert self.reader.greeting() == READY
        self.root = root
        self.count = 0

    def send(self, verb, args=None, content=b""):
        self.count += 1
        frame = json_frame({"id": self.count, "verb": verb, "args": args or {}})
        self.process.stdin.write(frame + (data_frame(content) if content else b""))
        return self.count

    def receive(self):
        return message_of(self.reader.frame()[1])

    def ask(self, verb, args=None, content=b""):
        self.send(verb, args, content)
        return self.receive()["ok"]

    def put(self, content):
        sha256 = hashlib.sha256(content).hexdigest()
        self.ask("put", {"sha256": sha256, "size_bytes": len(content), "offset": 0}, content)
        return {"path": "runner.pyz", "sha256": sha256, "size_bytes": len(content)}

    def start_sleeper(self):
        """Start a run that does not end; return its request's id and the runner's process id."""
        manifest = {
            "format": 1, "name": "t", "engine": "ncnn", "precision": "fp32", "target": "local",
            "architecture": os.uname().machine, "compatible": [], "knobs": {}, "job": {},
            "files": [self.put(SLEEPER)],
            "runtime": {"id": "none", "python": sys.executable, "wheels": []},
        }  # fmt: skip
        bundle = self.ask("install", {"manifest": json.dumps(manifest)})["bundle"]
        request = {"bundle": bundle, "kind": "infer", "frames": [], "plan": {}, "timeout_s": 500}
        run = self.send("run", request)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for path in (self.root / "jobs").glob("*/pid"):
                if path.read_text():
                    return run, int(path.read_text())
            time.sleep(0.01)
        raise AssertionError("the runner did not start")


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path / "device")
    yield agent
    agent.process.kill()
    agent.process.wait()
    agent.process.stdin.close()
    agent.process.stdout.close()


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if has_ended(pid):
            return True
        time.sleep(0.01)
    return False


def test_cancel_ends_the_run_and_both_are_answered(agent):
    run, runner = agent.start_sleeper()
    cancel = agent.send("cancel")
    answer = agent.receive()
    assert (answer["id"], answer["error"]["code"]) == (run, "cancelled")
    assert agent.receive() == {"id": cancel, "ok": {}}
    assert is_gone(runner)
    assert agent.ask("status")["current"] is None


def test_cancel_that_comes_in_pieces_is_understood(agent):
    run, _runner = agent.start_sleeper()
    for byte in json_frame({"id": 99, "verb": "cancel", "args": {}}):
        agent.process.stdin.write(bytes([byte]))
    assert agent.receive()["id"] == run
    assert agent.receive() == {"id": 99, "ok": {}}


def test_anything_but_cancel_during_a_run_ends_agent_and_runner(agent):
    _run, runner = agent.start_sleeper()
    agent.send("status")
    assert agent.process.wait(20) == 2
    assert is_gone(runner)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_agent_that_is_told_to_end_ends_its_runner(agent, number):
    _run, runner = agent.start_sleeper()
    agent.process.send_signal(number)
    assert agent.process.wait(20) == 128 + number
    assert is_gone(runner)


def test_agent_ends_when_its_input_is_closed(agent):
    agent.ask("hello")
    agent.process.stdin.close()
    assert agent.process.wait(20) == 0


def test_agent_takes_little_memory(agent):
    agent.ask("hello")
    agent.put(os.urandom(900_000))
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    assert peak_kb <= 20_000


def test_stray_output_of_the_agent_process_goes_to_standard_error(tmp_path):
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from device_agent import server\n"
        "from device_agent.channel import take_streams\n"
        "channel = take_streams()\n"
        "print('stray', flush=True); os.system('echo strayer'); os.write(1, b'strayest')\n"
        "assert sys.stdin.read() == ''\n"
        "channel.greet()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(REPOSITORY)],
        input=b"requests", capture_output=True, check=True,
    )  # fmt: skip
    assert FrameReader(_read_from(ended.stdout)).greeting() == READY
    assert ended.stdout.startswith(b"\0\1edgekit")
    assert ended.stderr.split() == [b"stray", b"strayer", b"strayest"]


def _read_from(data: bytes):
    left = bytearray(data)

    def read(size: int) -> bytes:
        piece = bytes(left[:size])
        del left[:size]
        return piece

    return read


@pytest.fixture
def pipes():
    """Give a channel, and the host's ends of its two pipes."""
    to_agent, from_agent = os.pipe(), os.pipe()
    yield Channel(to_agent[0], from_agent[1]), to_agent[1], from_agent[0]
    for end in (*to_agent, *from_agent):
        os.close(end)


def test_content_that_stops_coming_is_given_up(pipes, monkeypatch):
    monkeypatch.setattr(channel, "STALL_S", 0.05)
    agent_end, to_agent, _from_agent = pipes
    os.write(to_agent, data_frame(b"x" * 10)[:8])
    with pytest.raises(HostGoneError, match="stood still"):
        list(agent_end.content(10))


def test_host_that_takes_nothing_is_given_up(pipes, monkeypatch):
    monkeypatch.setattr(channel, "STALL_S", 0.05)
    with pytest.raises(HostGoneError, match="stood still"):
        pipes[0].send_content(bytes(300_000))


def test_host_that_takes_slowly_gets_everything(pipes):
    agent_end, _to_agent, from_agent = pipes
    got = bytearray()

    def take():
        while len(got) < 300_005:
            got.extend(os.read(from_agent, 1000))

    taker = threading.Thread(target=take)
    taker.start()
    agent_end.send_content(bytes(300_000))
    taker.join(20)
    assert len(got) == 300_005


@pytest.mark.parametrize(
    "frames",
    [
        json_frame({"id": 1}),
        data_frame(b"x" * 11),
        data_frame(b"x" * 5) + data_frame(b"y" * 6),
        data_frame(b""),
    ],
)
def test_content_that_is_not_as_announced_is_refused(pipes, frames):
    agent_end, to_agent, _from_agent = pipes
    os.write(to_agent, frames)
    with pytest.raises(ProtocolError, match="were due"):
        list(agent_end.content(10))


def test_content_where_a_request_is_due_is_refused(pipes):
    agent_end, to_agent, _from_agent = pipes
    os.write(to_agent, data_frame(b"x"))
    with pytest.raises(ProtocolError, match="a request was due"):
        agent_end.request()
