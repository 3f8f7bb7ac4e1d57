"""Writing images to block devices that a real kernel makes fail: no fault is taken for success.

A system board's kernel has the disks: ``scsi_debug``'s are memory behind the SCSI disk driver, and
device mapper makes them fail where it is told to.
"""

import gzip
import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from failing_disks import CARD_MIB, Bench, flakey, names, table

import edgekit
from edgekit.board import system_mode

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

MIB = 1 << 20
FOLDER = "/root/disk-bench"
PACKAGE = Path(edgekit.__file__).parent
# What writes to disks, and what it imports.
PARTS = ("__init__.py", "core", "flash", "catalog")


@pytest.fixture(scope="module")
def image_bytes():
    """5.5 MiB and a sector: data, a gap, data, a gap, an end that no page ends with."""
    noise = random.Random(6)
    return (
        noise.randbytes(MIB + 4096)
        + bytes(2 * MIB - 4096)
        + noise.randbytes(2 * MIB)
        + bytes(MIB // 2)
        + noise.randbytes(512)
    )


@pytest.fixture(scope="module")
def writer(system_board, image_bytes):
    """Carry edgekit's writer to the board, with an image, and start it there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for part in PARTS:
            archive.add(PACKAGE / part, f"edgekit/{part}", filter=_sources_only)
        archive.add(Path(__file__).with_name("disk_bench.py"), "disk_bench.py")
        add(archive, "system.img", image_bytes)
        add(archive, "system.img.gz", gzip.compress(image_bytes, 1))
    shell = system_mode.ssh_command(system_board.name, as_root=True)
    unpack = f"rm -rf {FOLDER} && mkdir {FOLDER} && tar x -C {FOLDER}"
    subprocess.run([*shell, unpack], input=packed.getvalue(), check=True, timeout=120)
    process = subprocess.Popen(
        [*shell, f"cd {FOLDER} && modprobe -a sd_mod dm-flakey && exec python3 -B disk_bench.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            bench = Bench(process)
            bench.ask(run=f"yes before | head -c {CARD_MIB}M >before")
            large = f"cp system.img large.img && truncate -s {CARD_MIB * MIB + 512} large.img"
            bench.ask(run=f"{large} && gzip -1 -k large.img")
            yield bench
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()
    subprocess.run([*shell, f"rm -r {FOLDER}"], check=True, timeout=120)


@pytest.fixture
def bench(writer):
    """The same, and no card in it, before and after."""
    yield writer
    writer.unplug()


def add(archive, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _sources_only(entry):
    return entry if entry.isdir() or entry.name.endswith(".py") else None


@pytest.mark.parametrize("kind", [{"sector_size": 4096}, {"lbpws": 1, "lbprz": 1}])
def test_sound_card_holds_the_image(bench, kind):
    [card] = bench.insert(**kind)
    assert bench.ask(look=card, image="system.img") == "before"
    assert bench.ask(write="system.img.gz", disks=[card]) == [None]
    assert bench.ask(look=card, image="system.img") == "whole"


def test_faults_of_cards_written_at_once_are_all_told_and_stop_no_other(bench):
    drops = flakey("drop_writes")
    faults = {
        "sound": (),
        "sector": (8193, 1, "error"),
        "end": (11264, 1, "error"),
        # An error of the disk's own cache: nothing tells where it is.
        "flush": (8192, 8, flakey("error_writes")),
        "drops": (8192, 8, drops),
        "zeros": (4096, 64, drops),
    }
    cards = bench.insert(len(faults))
    disks = [
        bench.wrap(name, table(card, *([fault] if fault else [])))
        for (name, fault), card in zip(faults.items(), cards, strict=True)
    ]
    said = bench.ask(write="system.img", disks=disks)
    bench.ask(run="dmsetup remove_all")
    assert said[0] is None
    words = [f"{disk} cannot be written" for disk in disks[1:4]]
    words += [f"{disk} does not hold what was written to it" for disk in disks[4:]]
    for error, begin, (sector, _count, _target) in zip(
        said[1:], words, list(faults.values())[1:], strict=True
    ):
        assert error.startswith(begin)
        assert names(error, sector) or error.startswith(f"{disks[3]} cannot be written:")
    left = [bench.ask(look=card, image="system.img") for card in cards]
    assert left == ["whole"] + ["cleared"] * 5


def test_sectors_that_cannot_be_read_back_are_told(bench):
    [card] = bench.insert(opts=2, medium_error_start=7777, medium_error_count=2)
    [error] = bench.ask(write="system.img", disks=[card])
    assert f"{card} cannot be read" in error
    assert "the medium is damaged" in error
    assert names(error, 7777)
    bench.ask(run="echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts")
    assert bench.ask(look=card, image="system.img") == "cleared"


def test_cards_that_are_pulled_are_told_and_do_not_boot(bench):
    cards = bench.insert(2)
    pulls = [f"echo 1 >/sys/block/{card.rpartition('/')[2]}/device/delete" for card in cards]
    events = [
        [card, when, 4 * MIB, {"run": pull}]
        for card, when, pull in zip(cards, ("write", "read"), pulls, strict=True)
    ]
    said = bench.ask(write="system.img", disks=cards, events=events)
    assert [error.partition(":")[0] for error in said] == [f"{card} is gone" for card in cards]
    # Put in again, they hold what they held when they were pulled.
    bench.ask(run="for each in /sys/class/scsi_host/*/scan; do echo '- - -' >$each; done")
    left = [bench.ask(look=card, image="system.img") for card in bench.cards(2)]
    assert left == ["cleared"] * 2


def test_card_that_is_one_sector_too_small_is_told(bench):
    cards = bench.insert(2)
    images = ("large.img", "large.img.gz")
    said = [bench.ask(write=image, disks=[card]) for image, card in zip(images, cards, strict=True)]
    assert ["1 sectors are missing" in error for [error] in said] == [True, True]
    # An archive does not tell beforehand how much is in it.
    left = [bench.ask(look=card, image="system.img") for card in cards]
    assert left == ["before", "cleared"]


def test_writes_that_only_the_page_cache_holds_are_found(bench):
    [card] = bench.insert()
    disk = bench.wrap("forgets", table(card, (8192, 8, flakey("drop_writes"))))
    # What a program sees that does not look past the page cache, once all is flushed.
    naive = f"""dd if=system.img of={disk} bs=4k skip=1024 seek=1024 count=1 conv=notrunc,fsync
        dd if={disk} bs=4k skip=1024 count=1 of=cached
        dd if={disk} bs=4k skip=1024 count=1 of=held iflag=direct
        dd if=system.img bs=4k skip=1024 count=1 of=wanted
        cmp cached wanted && ! cmp -s held wanted"""
    # Held open all the while, or the kernel drops its pages.
    bench.ask(run=f"exec 9<{disk}; exec 2>/dev/null; {naive}")
    [error] = bench.ask(write="system.img", disks=[disk], cached=[disk])
    assert "does not hold what was written to it" in error
    assert names(error, 8192)
    bench.ask(run="dmsetup remove_all")
    assert bench.ask(look=card, image="system.img") == "cleared"


def test_bits_that_turn_after_they_were_written_are_found(bench):
    # In the first sectors, in data, in zeros, and in the last sector.
    places = (300, 4 * MIB + 77, 2 * MIB, 5 * MIB + MIB // 2 + 511)
    cards = bench.insert(len(places))
    disks = [bench.wrap(f"forgets{each}", table(card)) for each, card in enumerate(cards)]
    events = [
        [disk, "read", place, {"flip": card, "at": place}]
        for disk, card, place in zip(disks, cards, places, strict=True)
    ]
    said = bench.ask(write="system.img", disks=disks, events=events)
    bench.ask(run="dmsetup remove_all")
    for error, place in zip(said, places, strict=True):
        assert "does not hold what was written to it" in error
        assert names(error, place // 512)
    left = [bench.ask(look=card, image="system.img") for card in cards]
    assert left == ["cleared"] * len(places)


@pytest.mark.parametrize("sector", [0, 8192])
def test_bytes_that_change_on_their_way_are_found(bench, sector):
    [card] = bench.insert()
    # This kernel changes them in the writer's own memory, where others would write them too.
    disk = bench.wrap("changes", table(card, (sector, 8, flakey("corrupt_bio_byte 300 w 1 0"))))
    [error] = bench.ask(write="system.img", disks=[disk])
    assert "does not hold what was written to it" in error
    assert names(error, sector)
    bench.ask(run="dmsetup remove_all")
    assert bench.ask(look=card, image="system.img") == "cleared"


def test_card_that_only_says_that_it_made_zeros_is_found(bench):
    [card] = bench.insert(lbpws=1, lbprz=2)
    mode = f"/sys/block/{card.rpartition('/')[2]}/device/scsi_disk/*/zeroing_mode"
    bench.ask(run=f"echo writesame_16_unmap | tee {mode}")
    [error] = bench.ask(write="system.img", disks=[card])
    assert "does not hold what was written to it" in error
    # Two places are read at once: either of the image's gaps may be the first.
    assert names(error, 4096) or names(error, 10240)
    assert bench.ask(look=card, image="system.img") == "cleared"


def test_card_that_no_longer_answers_is_given_up(bench):
    cards = bench.insert(2)
    hanging, sound = bench.wrap("hangs", table(cards[0])), cards[1]
    hang = "dmsetup suspend --noflush --nolockfs --noudevsync hangs"
    said = bench.ask(
        write="system.img",
        disks=[hanging, sound],
        events=[[hanging, "write", 4 * MIB, {"run": hang}]],
        stall_s=15.0,
    )
    assert "has not answered for 15 s" in said[0]
    assert said[1] is None
    assert bench.ask(look=sound, image="system.img") == "whole"
    bench.ask(run="dmsetup resume --noudevsync hangs")
    assert bench.ask(look=cards[0], image="system.img") == "cleared"


def test_disks_in_use_are_refused_by_what_the_kernel_says(bench):
    [card] = bench.insert()
    [listed] = [each for each in bench.ask(list="") if each[0] == card]
    assert listed[1:] == [CARD_MIB * MIB, "Linux scsi_debug", True]
    assert bench.ask(refuse=card, bytes=CARD_MIB * MIB) is None
    assert "is too small" in bench.ask(refuse=card, bytes=CARD_MIB * MIB + 1)
    for allowed in (False, True):
        why = bench.ask(refuse="/dev/vda", allow_system=allowed)
        assert "holds this machine's own system" in why
    bench.ask(run=f"mke2fs -q {card} && mkdir -p card && mount {card} card")
    assert f"mounted at {FOLDER}/card" in bench.ask(refuse=card)
    [error] = bench.ask(write="system.img", disks=[card])
    assert "is in use" in error
    bench.ask(run="umount card")
    bench.wrap("holder", table(card))
    assert "[held by holder]" in bench.ask(refuse=card)
    bench.ask(run="dmsetup remove holder")
    bench.ask(run=f"mkswap -q {card} && swapon {card}")
    assert "[swap]" in bench.ask(refuse=card)
    bench.ask(run=f"swapoff {card}")
    assert bench.ask(refuse=card) is None


def test_built_in_and_locked_disks_are_refused(bench):
    [card] = bench.insert(removable=0)
    assert "is built in" in bench.ask(refuse=card)
    assert bench.ask(refuse=card, allow_system=True) is None
    bench.unplug()
    bench.ask(run="modprobe scsi_debug removable=1 wp=1")
    [card] = bench.cards(1)
    assert "is read-only" in bench.ask(refuse=card)
