"""Host, agent and link end in mid-run behind a real sshd: the clocks come back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clock_tree import CPUFREQ, ClockTree
from device_life import ends, wait_for
from processes import children_of, members_of, running_below

from edgekit.device import connect

WITHIN_S = 10.0
"""The figure: restored within so long."""

HOST = """
import sys
from pathlib import Path
from edgekit.device import RunRequest, SshAddress, connect
host, user, port, identity, known_hosts, bundle, told = sys.argv[1:]
address = SshAddress(
    host, user, int(port), identity_file=Path(identity), known_hosts=Path(known_hosts)
)
with connect(address) as device, device.fixed_clocks() as pin:
    Path(told).write_text(str(pin.pinned.guardian_pid))
    device.run(bundle, RunRequest("infer", ()))
"""


class PinnedRun:
    """A host process that runs something endless on a device with pinned clocks."""

    def __init__(self, folder: Path, sshd, home: Path, bundle) -> None:
        where = sshd.address
        told = (where.host, where.user, where.port, where.identity_file, where.known_hosts)
        self.sshd = sshd
        self.guardian_file = folder / "guardian"
        self.guardian_file.unlink(missing_ok=True)
        for old in (home / ".edgekit/jobs").glob("*/pid"):
            old.unlink()
        self.host = subprocess.Popen(
            [sys.executable, "-c", HOST, *map(str, told), bundle.identity, self.guardian_file],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.guardian = int(wait_for(self.guardian_file, 60))
        self.runner = self._runner(home)
        agents = set(running_below(home / ".edgekit/agent")) - {self.guardian}
        children = {child for pid in agents for child in children_of(pid)}
        [self.agent] = agents - children

    def _runner(self, home: Path) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for path in (home / ".edgekit/jobs").glob("*/pid"):
                if path.read_text():
                    return int(path.read_text())
            time.sleep(0.02)
        raise AssertionError("the runner did not start")

    def kill_host(self):
        self.host.kill()

    def interrupt_host(self):
        self.host.send_signal(signal.SIGINT)

    def kill_agent(self):
        os.kill(self.agent, signal.SIGKILL)

    def cut_link(self):
        self.sshd.signal_sessions(signal.SIGKILL)

    def silence_host(self):
        self.host.send_signal(signal.SIGSTOP)

    def silence_link(self):
        self.sshd.signal_sessions(signal.SIGSTOP)

    def end(self):
        """End everything that a test left standing."""
        self.host.kill()
        self.host.communicate(timeout=30)
        self.sshd.signal_sessions(signal.SIGKILL)
        assert ends(self.guardian)
        assert ends(self.agent)
        assert not [pid for pid in members_of(self.runner) if not ends(pid)]


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "remote-home"
    home.mkdir()
    return home


@pytest.fixture
def tree(tmp_path):
    return ClockTree(tmp_path / "tree")


@pytest.fixture
def host(own_home, make_sshd, tree, home, workshop, tmp_path):
    """Start a pinned run behind an sshd whose sessions see that tree."""
    sshd = make_sshd(SetEnv=f"HOME={home} EDGEKIT_DEVICE_SYS={tree.sys}")
    bundle = workshop.bundle("hang")
    with connect(sshd.address) as device:
        device.push(bundle.content)
        device.install(bundle)
    return lambda: PinnedRun(tmp_path, sshd, home, bundle)


def restored_after_s(tree, wanted):
    """Return after how long the settings are these; fail if they never are."""
    began = time.monotonic()
    while tree.settings() != wanted:
        assert time.monotonic() - began < 6 * WITHIN_S, "never restored"
        time.sleep(0.02)
    return time.monotonic() - began


def put_to_the_test(host, tree, how):
    before = tree.settings()
    run = host()
    try:
        assert tree.text(f"{CPUFREQ}/policy0/scaling_governor") == "performance"
        assert tree.text(f"{CPUFREQ}/policy4/scaling_governor") == "performance"
        getattr(run, how)()
        return restored_after_s(tree, before)
    finally:
        run.end()


AT_ONCE = ("kill_host", "interrupt_host", "kill_agent", "cut_link")
BY_LEASE = ("silence_host", "silence_link")


@pytest.mark.parametrize("how", AT_ONCE)
def test_clocks_come_back_at_once_where_the_end_is_seen(host, tree, home, how):
    assert put_to_the_test(host, tree, how) < WITHIN_S
    assert not (home / ".edgekit/clocks.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", BY_LEASE)
def test_clocks_come_back_by_the_lease_where_nothing_is_heard(host, tree, how):
    assert put_to_the_test(host, tree, how) < WITHIN_S


@pytest.mark.slow
def test_clocks_come_back_twenty_times_of_twenty(host, tree):
    ways = (*AT_ONCE, *BY_LEASE) * 4
    took_s = [(how, put_to_the_test(host, tree, how)) for how in ways[:20]]
    print("\n".join(f"{how}: {seconds:.2f} s" for how, seconds in took_s))  # noqa: T201
    assert sum(seconds < WITHIN_S for _how, seconds in took_s) == 20


def test_guardian_and_agent_killed_are_made_good_by_the_next_session(host, tree, home):
    before = tree.settings()
    run = host()
    try:
        os.kill(run.agent, signal.SIGSTOP)
        os.kill(run.guardian, signal.SIGKILL)
        assert ends(run.guardian)
        os.kill(run.agent, signal.SIGKILL)
        assert ends(run.agent)
        assert tree.settings() != before
        with connect(run.sshd.address) as device:
            assert tree.settings() == before
            assert device.facts.home == str(home)
    finally:
        run.end()
