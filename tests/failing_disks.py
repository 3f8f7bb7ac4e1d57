"""Disks of a system board that fail, and the program there that writes to them."""

import json
import re

CARD_MIB = 6
SECTORS = CARD_MIB << 20 >> 9
CARDS = "ls -d /sys/bus/pseudo/devices/adapter*/host*/target*/*/block/*"


class Bench:
    """A board with disks in it, and edgekit's writer."""

    def __init__(self, process):
        self._process = process

    def ask(self, **job):
        """Have something done there, and return its answer."""
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the program on the board ended"
        told = json.loads(line)
        assert "failed" not in told, told["failed"]
        return told["answer"]

    def insert(self, count=1, **parameters):
        """Put cards into the board, full of what they held before; return their paths."""
        wanted = {"dev_size_mb": CARD_MIB, "removable": 1, "delay": 0, **parameters}
        words = " ".join(f"{key}={value}" for key, value in wanted.items())
        self.ask(run=f"modprobe scsi_debug add_host={count} per_host_store=1 {words}")
        cards = self.cards(count)
        fill = "; ".join(f"dd if=before of={card} bs=1M oflag=direct" for card in cards)
        self.ask(run=f"exec 2>/dev/null; {fill}")
        return cards

    def cards(self, count):
        """Wait until the kernel has found its cards; return their paths in a fixed order."""
        found = self.ask(
            run=f"for turn in $(seq 300); do cards=$({CARDS} 2>/dev/null || true); ready=0; "
            "for each in $cards; do if [ -b /dev/${each##*/} ]; then ready=$((ready + 1)); fi; "
            f"done; if [ $ready = {count} ]; then break; fi; sleep 0.2; done; "
            "for each in $cards; do echo /dev/${each##*/}; done"
        )
        cards = found.split()
        assert len(cards) == count, cards
        return cards

    def wrap(self, name, table):
        """Put device mapper around a card; return the path of what it makes."""
        told = self.ask(
            run=f"dmsetup create {name} --noudevsync <<'END'\n{table}\nEND\n"
            f"dmsetup info -c --noheadings -o blkdevname {name}"
        )
        return f"/dev/{told.strip()}"

    def unplug(self):
        """Take all cards out."""
        self.ask(
            run="for each in $(dmsetup ls | cut -f1 | grep -v '^No devices'); do "
            "dmsetup resume --noudevsync $each; dmsetup remove --noudevsync --retry $each; done; "
            "if [ -d /sys/module/scsi_debug ]; then rmmod scsi_debug; fi"
        )


def table(card, *faults):
    """Write the table of a card whose faults, as ``(sector, count, target)``, lie in order."""
    lines, at = [], 0
    for start, count, target in (*faults, (SECTORS, 0, "")):
        if start > at:
            lines.append(f"{at} {start - at} linear {card} {at}")
        if count:
            lines.append(f"{start} {count} {target.format(card=card, at=start)}")
        at = start + count
    return "\n".join(lines)


def flakey(feature):
    """Return a target that always misbehaves: it is up for 0 s, and then down for 1."""
    return f"flakey {{card}} {{at}} 0 1 {len(feature.split())} {feature}"


def names(error, sector):
    """Tell whether an error names sectors, or one, and this one is among them."""
    found = re.search(r"sectors? (\d+)(?: to (\d+))?", error)
    return found is not None and int(found[1]) <= sector <= int(found[2] or found[1])
