"""Real agents and guardians on a plain tree, ended in every way there is."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from clock_tree import CPUFREQ, ClockTree
from device_life import ends

from device_agent.clocks import lease
from device_agent.protocol import READY, FrameReader, VerbError, json_frame, message_of

REPOSITORY = Path(__file__).parents[2]
GOVERNOR = f"{CPUFREQ}/policy0/scaling_governor"
WITHIN_S = 10.0


class Agent:
    """A real agent on a tree of its own kernel, spoken to frame by frame."""

    def __init__(self, tree: ClockTree, root: Path) -> None:
        script = (
            "import sys; sys.path.insert(0, sys.argv[1]); from device_agent.server import main; "
            "sys.exit(main(sys.argv[2:]))"
        )
        self.tree = tree
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", script, str(REPOSITORY), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "EDGEKIT_DEVICE_SYS": str(tree.sys)},
        )
        self.reader = FrameReader(self.process.stdout.read)
        assert self.reader.greeting() == READY
        self.count = 0
        self.guardian = 0

    def answer(self, verb, **args):
        self.count += 1
        message = {"id": self.count, "verb": verb, "args": args}
        self.process.stdin.write(json_frame(message))
        return message_of(self.reader.frame()[1])

    def ask(self, verb, **args):
        answer = self.answer(verb, **args)
        assert "ok" in answer, answer
        return answer["ok"]

    def pin(self, lease_s=60, **args):
        told = self.ask("pin_clocks", lease_s=lease_s, **args)
        self.guardian = told["guardian"]
        assert self.is_pinned()
        return told

    def renew(self):
        self.process.stdin.write(json_frame({"verb": "renew"}))

    def is_pinned(self):
        return self.tree.text(GOVERNOR) == "performance"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        if self.guardian:
            assert ends(self.guardian)


@pytest.fixture
def tree(tmp_path):
    return ClockTree(tmp_path / "tree")


@pytest.fixture
def start(tree, tmp_path):
    started = []

    def make(name="device"):
        started.append(Agent(tree, tmp_path / name))
        return started[-1]

    yield make
    for agent in started:
        agent.end()


@pytest.fixture
def agent(start):
    return start()


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "device/clocks.json"


def becomes(tree, wanted, within_s=WITHIN_S):
    """Wait until the settings are these."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if tree.settings() == wanted:
            return True
        time.sleep(0.02)
    return False


def test_release_puts_everything_back(agent, tree, journal):
    before = tree.settings()
    told = agent.pin(khz={"4": 1008000})
    assert [(each["name"], each["pinned"]) for each in told["domains"]] == [
        ("policy0", True), ("policy4", True), ("ff9a0000.gpu", True),
    ]  # fmt: skip
    assert told["domains"][1]["set"] == [
        ["scaling_min_freq", "1008000"], ["scaling_max_freq", "1008000"],
    ]  # fmt: skip
    assert told["domains"][1]["now"]["min_hz"] == 1008000000
    assert told["recovered"] is None
    assert len(json.loads(journal.read_text())["changes"]) == 5
    released = agent.ask("release_clocks")
    assert released["ended"] == "released"
    assert len(released["restored"]) == 5
    assert tree.settings() == before
    assert not journal.exists()
    assert ends(agent.guardian)
    agent.pin()


def test_guardian_holds_nothing_of_the_agents(agent):
    agent.pin()
    held = {str(link.readlink()) for link in Path(f"/proc/{agent.guardian}/fd").iterdir()}
    kinds = {name.partition(":")[0] for name in held}
    assert kinds <= {"/dev/null", "socket", "pipe", str(agent.tree.sys / "devices/system/cpu")}
    assert os.getsid(agent.guardian) != os.getsid(agent.process.pid)
    assert os.getpgid(agent.guardian) != os.getpgid(agent.process.pid)
    parent = Path(f"/proc/{agent.guardian}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) != agent.process.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_agent_that_ends_gives_the_clocks_back(agent, tree, number):
    before = tree.settings()
    agent.pin()
    agent.process.send_signal(number)
    assert becomes(tree, before)
    assert ends(agent.guardian)


def test_host_that_goes_gives_the_clocks_back(agent, tree):
    before = tree.settings()
    agent.pin()
    agent.process.stdin.close()
    assert becomes(tree, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_guardian_that_is_told_to_end_gives_the_clocks_back_first(agent, tree, journal, number):
    before = tree.settings()
    agent.pin()
    os.kill(agent.guardian, number)
    assert becomes(tree, before)
    assert ends(agent.guardian)
    assert not journal.exists()
    assert agent.ask("release_clocks")["ended"] == "told by a signal"


def test_guardian_that_is_killed_is_made_good_by_the_agent(agent, tree, journal):
    before = tree.settings()
    agent.pin()
    os.kill(agent.guardian, signal.SIGKILL)
    assert ends(agent.guardian)
    assert agent.is_pinned()
    agent.renew()
    assert becomes(tree, before)
    assert not journal.exists()
    assert agent.ask("release_clocks")["ended"] == "guardian killed"
    agent.pin()


def test_guardian_and_agent_that_are_killed_are_made_good_by_the_next(agent, start, tree, journal):
    before = tree.settings()
    agent.pin(khz={"4": 600000})
    for process in (agent.process.pid, agent.guardian):
        os.kill(process, signal.SIGSTOP)
    for process in (agent.guardian, agent.process.pid):
        os.kill(process, signal.SIGKILL)
    assert ends(agent.guardian)
    assert agent.is_pinned()
    greeted = start().ask("hello")
    assert tree.settings() == before
    assert len(greeted["clocks_recovered"]["restored"]) == 5
    assert not journal.exists()
    assert "clocks_recovered" not in start().ask("hello")


def test_guardian_that_is_stopped_is_not_taken_for_dead(agent, tree, monkeypatch):
    before = tree.settings()
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(lease, "_ANSWER_S", 0.05)
    with ours, theirs, pytest.raises(VerbError, match="does not answer"):
        lease.Lease(ours, lambda: pytest.fail("its work was done by another")).release()
    agent.pin()
    os.kill(agent.guardian, signal.SIGSTOP)
    agent.renew()
    assert agent.answer("pin_clocks", lease_s=5)["error"]["code"] == "busy"
    assert agent.is_pinned()
    os.kill(agent.guardian, signal.SIGCONT)
    assert agent.ask("release_clocks")["ended"] == "released"
    assert tree.settings() == before


def test_silence_of_the_host_ends_the_lease(agent, tree):
    before = tree.settings()
    agent.pin(lease_s=1)
    assert becomes(tree, before)
    released = agent.ask("release_clocks")
    assert released["ended"] == "lease ran out"
    assert released["restored"]
    agent.pin()


def test_signs_of_life_renew_the_lease(agent, tree):
    agent.pin(lease_s=2)
    for _ in range(8):
        time.sleep(0.4)
        agent.renew()
        assert agent.is_pinned()
    assert agent.ask("release_clocks")["ended"] == "released"


def test_signs_that_an_agent_at_work_does_not_read_renew_it_too(agent, tree):
    before = tree.settings()
    agent.pin(lease_s=2)
    agent.process.send_signal(signal.SIGSTOP)
    for _ in range(8):
        time.sleep(0.4)
        agent.renew()
        assert agent.is_pinned()
    assert becomes(tree, before)
    agent.process.send_signal(signal.SIGCONT)
    assert agent.ask("release_clocks")["ended"] == "lease ran out"


def test_second_session_is_refused_until_the_first_has_ended(agent, start, tree):
    before = tree.settings()
    agent.pin()
    other = start("another-users")
    refused = other.answer("pin_clocks", lease_s=5)["error"]
    assert refused["code"] == "busy"
    assert agent.answer("pin_clocks", lease_s=5)["error"]["code"] == "busy"
    same_folder = start().answer("pin_clocks", lease_s=5)["error"]
    assert f"process {agent.process.pid}" in same_folder["message"]
    agent.ask("release_clocks")
    other.pin()
    other.ask("release_clocks")
    assert tree.settings() == before


def test_hello_of_another_session_leaves_a_live_pin_alone(agent, start):
    agent.pin()
    assert start().ask("hello")["clocks_recovered"] is None
    assert agent.is_pinned()


def test_journal_of_another_boot_is_thrown_away(agent, start, tree, journal):
    agent.pin()
    old = json.loads(journal.read_text())
    agent.ask("release_clocks")
    tree.put(GOVERNOR, "performance")  # by the one who set up this boot
    journal.write_text(json.dumps({**old, "boot": "before"}))
    assert start().ask("hello")["clocks_recovered"] is None
    assert tree.text(GOVERNOR) == "performance"
    assert not journal.exists()


@pytest.mark.parametrize(
    "path", ["devices/system/cpu/online", "devices/system/cpu/cpufreq/../online", "/etc/hostname"]
)
def test_journal_that_names_other_files_writes_to_none(agent, start, tree, journal, path):
    agent.pin()
    held = json.loads(journal.read_text())
    agent.ask("release_clocks")
    change = {"path": path, "kind": "limit", "was": "nonsense"}
    journal.write_text(json.dumps({**held, "changes": [change]}))
    assert start().ask("hello")["clocks_recovered"]["restored"] == []
    assert tree.text("sys/devices/system/cpu/online") == "0-5"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}'])
def test_journal_that_cannot_be_read_is_thrown_away(agent, start, journal, text):
    agent.ask("hello")
    journal.write_text(text)
    assert start().ask("hello")["clocks_recovered"] is None
    assert not journal.exists()


@pytest.mark.parametrize(
    "args",
    [
        {"lease_s": 0},
        {"lease_s": 1e9},
        {"lease_s": "6"},
        {"lease_s": 6, "khz": {"9": 600000}},
        {"lease_s": 6, "khz": {"0": -1}},
        {"lease_s": 6, "khz": 5},
    ],
)
def test_request_that_cannot_be_meant_changes_nothing(agent, tree, journal, args):
    before = tree.settings()
    assert agent.answer("pin_clocks", **args)["error"]["code"] == "bad_request"
    assert tree.settings() == before
    assert not journal.exists()
    assert agent.answer("release_clocks")["error"]["code"] == "bad_request"
    agent.pin()  # the lock was given back


def test_machine_without_cpufreq_is_told_so(tmp_path, start, tree):
    import shutil

    shutil.rmtree(tree.root / CPUFREQ)
    shutil.rmtree(tree.root / "sys/class/devfreq")
    assert start().ask("pin_clocks", lease_s=5)["domains"] == []
    shutil.rmtree(tree.root / "sys/devices")
    assert start().ask("pin_clocks", lease_s=5)["domains"] == []


def test_disk_without_room_for_the_journal_pins_nothing(agent, tree, tmp_path):
    before = tree.settings()
    agent.ask("hello")
    (tmp_path / "device/clocks.json.new").mkdir()
    assert agent.answer("pin_clocks", lease_s=5)["error"]["code"] == "io_error"
    assert tree.settings() == before


def test_two_sessions_that_pin_at_once_never_mix(start, tree):
    before = tree.settings()
    agents = [start(f"user{number}") for number in range(3)]

    def pin_and_release(agent):
        for _ in range(3):
            told = agent.answer("pin_clocks", lease_s=60)
            if "ok" in told:
                agent.guardian = told["ok"]["guardian"]
                assert all(each["was"] != each["now"] for each in told["ok"]["domains"])
                agent.ask("release_clocks")

    threads = [threading.Thread(target=pin_and_release, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree.settings() == before
