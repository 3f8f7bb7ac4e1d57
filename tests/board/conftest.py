"""Virtual boards: what stands written of them, and real ones where this host can carry them."""

import os
from collections.abc import Callable, Iterator

import pytest

from edgekit.board import user_mode
from edgekit.board.requirements import requirements
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
    missing = [entry.name for entry in requirements() if not entry.present]
    if missing:
        pytest.skip(f"a virtual board needs on this host: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("a virtual board needs root")
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
