"""How often a flashing station looked for disks: what it must have noticed by now."""

import time

PACE = 0.04
# A card counts as taken out after one second, a board after five; both a little longer here.
CARD_AWAY_S, BOARD_AWAY_S = 1.2 * PACE, 6 * PACE
_PATIENCE_S = 30
_ROUND = 2  # at most: for what left, and for what came


class Looks:
    """Counts them; the station asks :meth:`disks` in every round."""

    def __init__(self):
        self.count = 0

    def disks(self, _root):
        self.count += 1
        return []

    def until_missed(self, away_s):
        """Return when what is gone by now counts as taken out."""
        self._for_two_rounds()  # in the first of them it is seen to be gone
        time.sleep(away_s)
        self._for_two_rounds()

    def _for_two_rounds(self):
        wanted = self.count + 2 * _ROUND
        until = time.monotonic() + _PATIENCE_S
        while self.count < wanted:
            assert time.monotonic() < until, "the station does not look any more"
            time.sleep(0.005)
