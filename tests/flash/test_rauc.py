"""RAUC's answers, as version 1.8 printed them on a device, and what an update makes of them."""

from pathlib import Path

import pytest

from edgekit.core.errors import ConnectionLostError, FlashError, UsageError
from edgekit.core.events import StepProgress, ignore
from edgekit.flash.ab_update import Update, update
from edgekit.flash.rauc import BundleInfo, Rauc, Slot, read_info, read_status

STATUS = """\
{"compatible":"edgekit-virt-arm64","variant":"","booted":"A","boot_primary":"rootfs.0","slots":\
[{"rootfs.1":{"class":"rootfs","device":"/dev/disk/by-partlabel/root-b","type":"ext4",\
"bootname":"B","state":"inactive","parent":null,"mountpoint":null,"boot_status":"bad"}},\
{"rootfs.0":{"class":"rootfs","device":"/dev/disk/by-partlabel/root-a","type":"ext4",\
"bootname":"A","state":"booted","parent":null,"mountpoint":null,"boot_status":"good"}}]}
"""
STATUS_B = (
    STATUS.replace('"state":"inactive"', '"state":"-"')
    .replace('"state":"booted"', '"state":"inactive"')
    .replace('"state":"-"', '"state":"booted"')
)
INFO = """\
rauc-Message: 07:04:44.407: Verified inline signature by 'CN = edgekit test'
{"compatible":"edgekit-virt-arm64","version":"2","description":null,"build":null,"hooks":[],\
"images":[{"rootfs":{"variant":null,"filename":"root.ext4","size":354349056}}]}
"""
INSTALL = """\
installing
  0% Installing
  0% Determining slot states
 20% Determining slot states done.
 90% Copying image to rootfs.1
100% Installing done.
Installing `b.raucb` succeeded
"""
REFUSED = """\
installing
 20% Verifying signature
 40% Verifying signature failed.
LastError: signature verification failed: Verify error: self-signed certificate
Installing `b.raucb` failed
"""


class Stream:
    """A command's output, all at once or in pieces, and how it ended."""

    def __init__(self, said, status=0, errors=""):
        data = said.encode()
        self.pieces = [data[i : i + 7] for i in range(0, len(data), 7)]
        self.status = status
        self.errors = errors

    def read(self, _size):
        if isinstance(self.status, Exception) and not self.pieces:
            raise self.status
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, data):
        raise AssertionError(data)

    def diagnostics(self):
        return self.errors

    def close(self):
        return None if isinstance(self.status, Exception) else self.status


class Board:
    """A device that says what it is told to, and restarts when it is ordered to."""

    name = "board"

    def __init__(self, starts, **answers):
        self.starts = list(starts)  # what RAUC says after each start
        self.boots = 0
        self.answers = {"info": Stream(INFO), "install": Stream(INSTALL), **answers}
        self.asked = []

    def open(self, command):
        words = [word for word in command if word not in {"sudo", "-n"}]
        self.asked.append(" ".join(words[:3]))
        if words[0] == "cat":
            return Stream(f"boot-{self.boots}\n")
        if words[0] == "systemd-run":
            self.boots += 1
            return Stream("")
        if words[1] == "status" and "mark" not in words[2]:
            return Stream(self.starts[min(self.boots, len(self.starts) - 1)])
        return self.answers.get(words[1], Stream(""))

    def close(self):
        return None


def plan(check=lambda: None):
    return Update(Path("b.raucb"), lambda _path: "/store/b", check, return_s=5)


def test_status_and_info_are_read_with_warnings_around_them():
    slots = read_status(f"warning: x\n{STATUS}")
    assert slots.compatible == "edgekit-virt-arm64"
    assert slots.booted == Slot("rootfs.0", "A", booted=True, good=True)
    assert slots.slots[0] == Slot("rootfs.1", "B", booted=False, good=False)
    assert read_status(STATUS_B).booted.bootname == "B"
    assert read_info(INFO) == BundleInfo("edgekit-virt-arm64", "2")
    with pytest.raises(FlashError, match="something else"):
        read_status("bash: nonsense")


def test_update_is_confirmed_once_the_other_slot_runs():
    board = Board([STATUS, STATUS_B])
    seen = []
    done = update(lambda: board, plan(), seen.append)
    assert (done.outcome, done.before, done.after, done.version) == ("confirmed", "A", "B", "2")
    assert board.asked[-1] == "rauc status mark-good"
    percents = [event.done for event in seen if isinstance(event, StepProgress)]
    assert percents == [0, 0, 20, 90, 100]


def test_boot_loader_that_went_back_is_told_and_nothing_is_confirmed():
    board = Board([STATUS, STATUS])
    done = update(lambda: board, plan(), ignore)
    assert (done.outcome, done.after) == ("fell-back", "A")
    assert "rauc status mark-good" not in board.asked


def test_system_that_fails_its_check_is_marked_bad_and_left():
    def unfit():
        raise UsageError("the agent lost its bundle")

    board = Board([STATUS, STATUS_B, STATUS])
    done = update(lambda: board, plan(unfit), ignore)
    assert (done.outcome, done.after) == ("fell-back", "A")
    assert done.reason == "the agent lost its bundle"
    assert "rauc status mark-bad" in board.asked
    assert "rauc status mark-good" not in board.asked
    assert board.boots == 2


def test_device_that_stays_in_an_unfit_system_did_not_fall_back():
    def unfit():
        raise UsageError("the agent lost its bundle")

    board = Board([STATUS, STATUS_B], status=Stream("", 1, "LastError: no boot loader"))
    with pytest.raises(FlashError, match=r"lost its bundle\).* once more, from slot B") as told:
        update(lambda: board, plan(unfit), ignore)
    assert "mark-active other" in told.value.hint
    assert board.boots == 2, "it was not restarted, as it could not be marked"


def test_refusals_tell_why_and_nothing_restarts():
    board = Board([STATUS], install=Stream(REFUSED, 1))
    with pytest.raises(FlashError, match="self-signed certificate") as refused:
        update(lambda: board, plan(), ignore)
    assert "keyring" in refused.value.hint
    assert board.boots == 0
    other = Board([STATUS], info=Stream(INFO.replace("virt-arm64", "other")))
    with pytest.raises(FlashError, match="is for edgekit-other"):
        update(lambda: other, plan(), ignore)
    assert "rauc install /store/b" not in other.asked


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ("sudo: a password is required", "may not run"),
        ("sudo: rauc: command not found", "has no RAUC"),
    ],
)
def test_device_that_cannot_is_told_apart(errors, words):
    board = Board([STATUS])
    board.open = lambda _command: Stream("", 1, errors)
    with pytest.raises(FlashError, match=words) as refused:
        Rauc(board).slots()
    assert "docs/ab-update.md" in refused.value.hint


def test_lost_link_in_an_install_is_no_failure_of_the_update():
    lost = ConnectionLostError("gone")
    board = Board([STATUS], install=Stream("installing\n  0% Installing\n", lost))
    with pytest.raises(ConnectionLostError):
        update(lambda: board, plan(), ignore)


def test_device_that_never_comes_back_is_told_with_what_to_do():
    board = Board([STATUS])
    board.open = lambda command, real=board.open: (
        Stream("") if "systemd-run" in command else real(command)
    )
    what = Update(Path("b"), lambda _path: "/store/b", lambda: None, return_s=0.1)
    with pytest.raises(FlashError, match="did not come back") as refused:
        update(lambda: board, what, ignore)
    assert "former system" in refused.value.hint
