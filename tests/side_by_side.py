"""How ``make test`` shares tests out to its processes.

Tests of virtual boards share the boards of the user's cache, so one process runs them all, one
after the other, while the other tests run beside them; but for those of machines that boot a disk
of their own. Tests of one file stay together.

pytest-xdist has ``--dist loadgroup`` for this, which pytest 9.2 made ineffective without a word:
xdist 3.8 writes a test's group into an attribute that pytest no longer reads.
"""

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
BOARD = "board"
OWN_DISK = "import DiskMachine"


@cache
def scope_of(file: str) -> str:
    """Return what names the tests that run one after the other, for a file in the checkout."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return BOARD if "mark.board" in text and OWN_DISK not in text else file


class BoardsApart(LoadScopeScheduling):
    """Gives a process all tests of one scope."""

    def _split_scope(self, nodeid):
        return scope_of(nodeid.partition("::")[0])
