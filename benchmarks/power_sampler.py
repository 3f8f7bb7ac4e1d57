"""What the agent's sampler takes of one core at 100 Hz, beside a loop that only sleeps.

The rails are files of a Jetson's INA3221, millivolts and milliamperes, in memory. Rounds are
interleaved; the best one of each counts for the ratio, as others on this machine only add.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_HZ = 100.0
SECONDS = 3.0
ROUNDS = 9
GOAL = 0.01


def rails(folder: Path, count: int) -> list[Rail]:
    """Make and open so many rails."""
    made = []
    for number in range(count):
        paths = [folder / f"in{number}_input", folder / f"curr{number}_input"]
        for path, text in zip(paths, ("5016\n", "992\n"), strict=True):
            path.write_text(text)
        rail = Rail("hwmon", "ina3221 1-0040", f"rail {number}").reads([str(p) for p in paths])
        rail.open()
        made.append(rail)
    return made


def sampled(folder: Path, count: int) -> float:
    """Return the sampler's share of a core, as it states it."""
    opened = rails(folder, count)
    sampler = Sampler(opened, RATE_HZ)
    sampler.start()
    time.sleep(SECONDS)
    sampler.stop()
    for rail in opened:
        rail.close()
    return float(sampler.as_json()["cpu_share"])


def slept() -> float:
    """Return the share of a loop that wakes as often and does nothing."""
    shares = []

    def loop() -> None:
        cpu = time.thread_time()
        began = due = time.monotonic()
        while due < began + SECONDS:
            due += 1 / RATE_HZ
            time.sleep(max(0.0, due - time.monotonic()))
        shares.append((time.thread_time() - cpu) / (time.monotonic() - began))

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    return shares[0]


def main() -> None:
    """Measure by turns, and print the figures."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # as sysfs, it is no disk
        folder = Path(name)
        kinds: dict[str, Callable[[], float]] = {
            "sleep": slept,
            "one": lambda: sampled(folder, 1),
            "three": lambda: sampled(folder, 3),
        }
        shares: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, measure in kinds.items():
                shares[kind].append(measure())
    for kind, found in shares.items():
        print(kind, " ".join(f"{share:.2%}" for share in sorted(found)), file=sys.stderr)
    middle = {kind: statistics.median(found) for kind, found in shares.items()}
    best = {kind: min(found) for kind, found in shares.items()}
    for kind, words in (("one", "one rail"), ("three", "three rails")):
        figure = {
            "figure": f"power sampler at 100 Hz, {words}: share of one core",
            "value": middle[kind],
            "goal": f"under {GOAL:.0%}",
            "ok": middle[kind] < GOAL,
            "note": f"best {best[kind]:.2%}, {best[kind] / best['sleep']:.2f} times a loop that "
            f"only sleeps ({middle['sleep']:.2%}, best {best['sleep']:.2%})",
        }
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
