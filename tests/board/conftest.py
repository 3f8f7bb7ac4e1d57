"""Virtual boards: what stands written of them, and real ones where this host can carry them."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from board_shell import skip_without_boards

from edgekit.board import system_mode, user_mode
from edgekit.board.requirements import system_requirements
from edgekit.board.user_mode import RunningBoard
from edgekit.catalog.targets import load_target
from edgekit.core.errors import UnknownNameError
from edgekit.core.target import Target


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache, so that no board of the user's is seen or touched."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bring_up() -> Iterator[Callable[[str], RunningBoard]]:
    """Bring up a board of a kind under a name of this test's own; it is removed afterwards."""
    skip_without_boards()
    names = set()

    def bring(target: str | Target) -> RunningBoard:
        kind = load_target(target) if isinstance(target, str) else target
        name = f"test-{os.getpid()}-{kind.name}"
        names.add(name)
        return user_mode.up(kind, name=name)

    yield bring
    for name in names:
        try:
            user_mode.down(name, wipe=True)
        except UnknownNameError:
            continue  # the test itself wiped it


@pytest.fixture(scope="session")
def system_board() -> Iterator[RunningBoard]:
    """A system board of these tests' own, as an RK3566; it is removed at the end."""
    skip_without_boards(system_requirements())
    name = f"test-{os.getpid()}-system"
    yield system_mode.up(load_target("rk3566"), name=name)
    system_mode.down(name, wipe=True)


@pytest.fixture(scope="session")
def root_shell(system_board) -> Callable[[str], str]:
    """Run commands as the board's root."""

    def run(command: str) -> str:
        done = subprocess.run(
            [*system_mode.ssh_command(system_board.name, as_root=True), command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def as_root(root_shell) -> Iterator[Callable[[str], str]]:
    """Run commands as the board's root; what its sensors measure is as it was afterwards."""
    yield root_shell
    root_shell(
        "virtual-sensors temperature 45000; virtual-sensors power 3125; "
        "cd /sys/devices/system/cpu/cpufreq/policy0 && echo schedutil >scaling_governor && "
        "cat cpuinfo_min_freq >scaling_min_freq && cat cpuinfo_max_freq >scaling_max_freq"
    )
