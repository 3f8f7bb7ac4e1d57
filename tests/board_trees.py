"""Kernel trees of boards, unfolded from one short file each in ``tests/health``."""

import tomllib
from pathlib import Path

BOARDS = sorted(file.stem for file in (Path(__file__).parent / "health").glob("*.toml"))
TICKS_PER_S = 100


class BoardTree:
    """A board's sysfs and procfs below a folder, that a test may change between snapshots."""

    def __init__(self, root: Path, board: str) -> None:
        self.root = root
        text = (Path(__file__).parent / "health" / f"{board}.toml").read_text(encoding="utf-8")
        self.told = tomllib.loads(text)
        self.cores = self.told["machine"]["cores"]
        self.put("sys/devices/system/cpu/online", f"0-{self.cores - 1}")
        for cluster in self.told["cluster"]:
            self._cluster(**cluster)
        for number, zone in enumerate(self.told.get("zone", ())):
            self._zone(f"sys/class/thermal/thermal_zone{number}", **zone)
        for number, cooler in enumerate(self.told.get("cooling", ())):
            folder = f"sys/class/thermal/cooling_device{number}"
            for name, key in (("type", "type"), ("cur_state", "state"), ("max_state", "max")):
                self.put(f"{folder}/{name}", cooler[key])
        for number, chip in enumerate(self.told.get("hwmon", ())):
            for name, value in chip.items():
                self.put(f"sys/class/hwmon/hwmon{number}/{name}", value)
        for path, value in self.told.get("files", {}).items():
            self.put(path, value)
        self.put("proc/loadavg", "0.08 0.03 0.01 1/180 4242")
        self.put("proc/meminfo", "MemTotal: 4000000 kB\nMemFree: 9 kB\nMemAvailable: 3500000 kB")
        self.swapped(0)
        self.worked(busy_s=100, idle_s=1000, own_s=1)

    def _cluster(self, policy, cpus, governor, driver, **clocks):
        folder = f"sys/devices/system/cpu/cpufreq/policy{policy}"
        for name, value in {
            "related_cpus": cpus,
            "affected_cpus": cpus,
            "scaling_governor": governor,
            "scaling_driver": driver,
            "scaling_cur_freq": clocks["current"],
            "scaling_min_freq": clocks["min"],
            "scaling_max_freq": clocks["max"],
            "cpuinfo_max_freq": clocks["max"],
        }.items():
            self.put(f"{folder}/{name}", value)

    def _zone(self, folder, type, temp=None, trips=(), bound=()):  # noqa: A002 - sysfs' name
        self.put(f"{folder}/type", type)
        if temp is None:
            (self.root / folder / "temp").mkdir()  # there, and refuses to be read
        else:
            self.put(f"{folder}/temp", temp)
        for number, (kind, limit) in enumerate(trips):
            self.put(f"{folder}/trip_point_{number}_type", kind)
            self.put(f"{folder}/trip_point_{number}_temp", limit)
        for number, (kind, trip) in enumerate(bound):
            self.put(f"{folder}/cdev{number}/type", kind)
            self.put(f"{folder}/cdev{number}_trip_point", trip)

    def put(self, path: str, value: object) -> None:
        """Write a file as the kernel shows it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n", encoding="utf-8")

    def find(self, pattern: str, containing: str) -> str:
        """Return the folder, below the root, whose file ``pattern`` holds a text."""
        for file in sorted(self.root.glob(pattern)):
            if file.read_text(encoding="utf-8").strip() == containing:
                return str(file.parent.relative_to(self.root))
        raise LookupError(containing)

    def worked(self, busy_s: float, idle_s: float, own_s: float) -> None:
        """Set what the processors and this process did since boot."""
        busy, idle, own = (round(value * TICKS_PER_S) for value in (busy_s, idle_s, own_s))
        self.put("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0")
        self.put("proc/self/stat", f"77 (python3 (x) y) S 1 77 77 0 -1 0 0 0 0 0 {own} 0 0 0 20 0")

    def swapped(self, pages: int) -> None:
        """Set how many pages were swapped in since boot."""
        rest = "\n".join(f"nr_of_something_{number} 5" for number in range(300))
        self.put("proc/vmstat", f"{rest}\npswpin {pages}\npswpout 0")
