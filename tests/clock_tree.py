"""An RK3399's clocks as plain files, and what of them a person could have set."""

from pathlib import Path

from board_trees import BoardTree

CPUFREQ = "sys/devices/system/cpu/cpufreq"
GPU = "sys/class/devfreq/ff9a0000.gpu"
STEPS = {
    0: "408000 600000 816000 1008000 1200000 1416000",
    4: "408000 600000 816000 1008000 1200000 1416000 1608000 1800000",
}
GOVERNORS = "conservative ondemand userspace powersave performance schedutil"


class ClockTree(BoardTree):
    """A board's tree with all that pinning looks at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "rk3399")
        for policy, steps in STEPS.items():
            folder = f"{CPUFREQ}/policy{policy}"
            self.put(f"{folder}/scaling_available_governors", GOVERNORS)
            self.put(f"{folder}/scaling_available_frequencies", steps)
            self.put(f"{folder}/scaling_setspeed", "<unsupported>")
            self.put(f"{folder}/cpuinfo_min_freq", 408000)
        for name, value in (
            ("governor", "simple_ondemand"),
            ("min_freq", 200000000),
            ("max_freq", 800000000),
            ("cur_freq", 200000000),
            ("available_frequencies", "200000000 400000000 800000000"),
        ):
            self.put(f"{GPU}/{name}", value)

    @property
    def sys(self) -> Path:
        """What the agent takes for ``/sys``."""
        return self.root / "sys"

    def text(self, path: str) -> str:
        """Return what a file holds."""
        return (self.root / path).read_text(encoding="utf-8").strip()

    def settings(self) -> dict[str, str]:
        """Return everything that pinning could change."""
        files = [*self.root.glob(f"{CPUFREQ}/**/*"), *self.root.glob("sys/class/devfreq/*/*")]
        return {
            str(file.relative_to(self.root)): file.read_text(encoding="utf-8").strip()
            for file in sorted(files)
            if file.is_file() and not file.name.endswith("cur_freq")
        }
