"""How ``make test`` shares tests out to its processes.

Tests of virtual boards share the boards of the user's cache, so one process runs them all, one
after the other, while the other tests run beside them. One more does so with those that boot whole
machines: each takes a core, and their disk images are made from the same parts. Tests of one file
stay together.

pytest-xdist has ``--dist loadgroup`` for this, which pytest 9.2 made ineffective without a word:
xdist 3.8 writes a test's group into an attribute that pytest no longer reads.
"""

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
BOARD = "board"
MACHINE = "machine"


@cache
def scope_of(file: str) -> str:
    """Return what names the tests that run one after the other, for a file in the checkout."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if "mark.board" not in text:
        return file
    return MACHINE if "mark.machine" in text else BOARD


@cache
def rank_of(scope):
    """Return when a scope comes: what takes minutes first, so that no process is left with it."""
    if scope in {BOARD, MACHINE}:
        return 0 if scope == BOARD else 1
    text = (ROOT / scope).read_text(encoding="utf-8")
    return 2 if "mark.toolbox" in text else 3


class BoardsApart(LoadScopeScheduling):
    """Gives a process all tests of one scope, long ones first."""

    _in_order = False

    def _split_scope(self, nodeid):
        return scope_of(nodeid.partition("::")[0])

    def _assign_work_unit(self, node):
        if not self._in_order:
            # By itself xdist begins with what has the most tests, and those are the quick ones.
            self._in_order = True
            ranked = sorted(self.workqueue.items(), key=lambda item: rank_of(item[0]))
            self.workqueue = type(self.workqueue)(ranked)
        super()._assign_work_unit(node)
