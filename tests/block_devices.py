"""sysfs and procfs of a machine with disks, as far as edgekit reads them."""

from pathlib import Path

from edgekit.flash.block_tree import BlockTree

USB = "pci0000:00/0000:00:14.0/usb1/1-1/1-1.2"


class Machine:
    """A tree below a folder to which disks, partitions, mounts and swaps are added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.numbers: dict[Path, str] = {}
        self.minor = 0
        self.put("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw")
        self.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority")

    def put(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")

    def add(self, name: str, sectors: int = 62_333_952, bus: str = USB, **attributes) -> str:
        """Add a whole device; attributes such as ``device__model`` are written as they come."""
        folder = f"sys/devices/{bus}/block/{name}"
        given = {"size": sectors, "ro": 0, "removable": 0, **attributes}
        for key, value in given.items():
            self.put(f"{folder}/{key.replace('__', '/')}", value)
        if bus == USB:
            self.put(f"sys/devices/{USB}/idVendor", "0781")
            self.put(f"sys/devices/{USB}/serial", "4C530001")
        return self._appear(folder, name)

    def part(self, disk: str, name: str, number: int = 1) -> str:
        folder = (self.root / "sys/class/block" / disk).resolve().relative_to(self.root.resolve())
        self.put(f"{folder}/{name}/partition", number)
        return self._appear(f"{folder}/{name}", name)

    def made_of(self, name: str, below: str, called: str = "") -> str:
        """Add what device mapper or md made of ``below``."""
        self.add(name, bus="virtual", **({"dm__name": called} if called else {}))
        holder = (self.root / "sys/class/block" / below).resolve() / "holders" / name
        holder.parent.mkdir(exist_ok=True)
        holder.symlink_to((self.root / "sys/class/block" / name).resolve())
        if called:
            link = self.root / "dev/mapper" / called
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../{name}")
        return name

    def mount(self, name: str, point: str, *, number: str = "", source: str = "") -> None:
        number = number or (self.root / f"sys/class/block/{name}/dev").read_text().strip()
        line = f"36 27 {number} / {point} rw shared:1 - ext4 {source or f'/dev/{name}'} rw\n"
        with (self.root / "proc/self/mountinfo").open("a") as file:
            file.write(line)

    def swap(self, path: str) -> None:
        with (self.root / "proc/swaps").open("a") as file:
            file.write(f"{path}                               partition\t8000\t0\t-2\n")

    def tree(self) -> BlockTree:
        """Its block devices; their nodes are plain files whose numbers are known here."""
        return BlockTree(self.root, self.numbers.get)

    def node(self, name: str) -> Path:
        return (self.root / "dev" / name).resolve()

    def _appear(self, folder: str, name: str) -> str:
        self.minor += 1
        self.put(f"{folder}/dev", f"8:{self.minor}")
        link = self.root / "sys/class/block" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root.resolve() / folder)
        self.put(f"dev/{name}", "")
        self.numbers[self.node(name)] = f"8:{self.minor}"
        return name
