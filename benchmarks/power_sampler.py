"""What the agent's sampler takes of one core at 100 Hz: its loop in C, and Python's beside it.

The rails are files of a Jetson's INA3221, millivolts and milliamperes, in memory; the library is
the one that a bundle for this machine holds. Rounds are interleaved, with one that only sleeps.
"""

import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from device_agent.power.native import load
from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler
from edgekit.core.bundle import SAMPLER_FILE
from edgekit.core.events import ignore
from edgekit.toolbox.native import native_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_agent.power.native import Native

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


def loop_in_c() -> "Native | None":
    """Return the loop that a bundle for this machine holds, if it can be compiled."""
    for file in native_libraries(platform.machine(), emit=ignore):
        if file.path == SAMPLER_FILE:
            return load(str(file.source), file.sha256)
    return None


def sampled(folder: Path, count: int, native: "Native | None") -> float:
    """Return the sampler's share of a core, as it states it."""
    opened = rails(folder, count)
    sampler = Sampler(opened, RATE_HZ, native=native)
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
    native = loop_in_c()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # as sysfs, it is no disk
        folder = Path(name)
        kinds: dict[str, Callable[[], float]] = {
            "a loop in Python that only sleeps": slept,
            "one rail": lambda: sampled(folder, 1, native),
            "three rails": lambda: sampled(folder, 3, native),
            "one rail, in Python": lambda: sampled(folder, 1, None),
            "three rails, in Python": lambda: sampled(folder, 3, None),
        }
        shares: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, measure in kinds.items():
                shares[kind].append(measure())
    for kind, found in shares.items():
        print(kind, " ".join(f"{share:.2%}" for share in sorted(found)), file=sys.stderr)
    middle = {kind: statistics.median(found) for kind, found in shares.items()}
    for kind in ("one rail", "three rails"):
        in_python = middle[f"{kind}, in Python"]
        slept_share = middle["a loop in Python that only sleeps"]
        figure = {
            "figure": f"power sampler at 100 Hz, {kind}: share of one core",
            "value": middle[kind] if native else None,
            "goal": f"under {GOAL:.0%}",
            "ok": middle[kind] < GOAL if native else None,
            "note": f"median of {ROUNDS}, from {min(shares[kind]):.2%} to {max(shares[kind]):.2%}; "
            f"the loop in Python {in_python:.2%}, one that only sleeps {slept_share:.2%}",
        }
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
