"""A board's life on virtual hardware: flashed, booted, deployed to, updated, its power cut.

The disk is written by what ``edgekit flash`` writes with, and boots by itself. The tests of this
file go on from one another: each restart of an emulated machine takes a minute.
"""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from board_shell import skip_without_boards
from disk_board import on_machine, wait_until_up
from rauc_bundles import Authority, bundle_tools, make_authority, make_bundle

from edgekit.app.ab_update import update_device
from edgekit.app.arena import frame_content
from edgekit.app.devices import locate
from edgekit.board.disk_image import COMPATIBLE, copy_image, disk_image, slot_bytes
from edgekit.board.disk_machine import DiskMachine
from edgekit.board.requirements import boot_requirements, disk_requirements
from edgekit.catalog.cache import cache_root
from edgekit.catalog.targets import load_target
from edgekit.cli.main import run
from edgekit.core.errors import DeviceError, FlashError
from edgekit.device import RunRequest, SshAddress, connect
from edgekit.prepare.frames import frames_of

pytestmark = [
    *(
        pytest.mark.board,
        pytest.mark.machine,
        pytest.mark.slow,
        pytest.mark.network,
        pytest.mark.toolbox,
    ),
    # The first of them makes the image, where the cache has none.
    pytest.mark.timeout(1500),
]

RETURN_S = 400.0
USER = "field"
NAME = "field-board"
KEYRING = "/etc/edgekit/keyring.pem"
RELEASE = "/etc/edgekit-release"


@dataclass
class Life:
    """What the tests of this file share."""

    machine: DiskMachine
    disk: Path
    address: SshAddress
    folder: Path
    authority: Authority
    bundle: str = ""

    @property
    def located(self):
        return locate(NAME, None)

    def says(self, command):
        return on_machine(self.address, command)

    def rootless(self):
        """Return a file system without a system, and without a kernel."""
        content, image = self.folder / "content", self.folder / "rootless.ext4"
        content.mkdir(exist_ok=True)
        # Of random bytes: RAUC refuses to make a bundle of next to nothing.
        (content / "file").write_bytes(os.urandom(1 << 16))
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", content, image, "8M"], check=True)
        return image

    def signed(self, version, authority=None, root=None):
        """Return an update; its system is the image's own, told apart by its release."""
        release = self.folder / "release"
        release.write_text(f"{version}\n", encoding="ascii")
        if root is None:
            root = self.folder / "root.ext4"
            copy_image(disk_image().root, root, {RELEASE: release})
        return make_bundle(
            root,
            self.folder / f"update-{version}.raucb",
            authority or self.authority,
            compatible=COMPATIBLE,
            version=version,
        )


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """Flash a disk, with all that the device is to be, and switch the machine on."""
    skip_without_boards((*disk_requirements(), *boot_requirements(), *bundle_tools()))
    folder = tmp_path_factory.mktemp("life")
    authority = make_authority(folder, "fleet")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    image, disk = folder / "image.img", folder / "disk"
    copy_image(disk_image().disk, image, {KEYRING: authority.certificate})
    with disk.open("wb") as file:
        file.truncate(image.stat().st_size + (64 << 20))
    machine = DiskMachine(disk, load_target("rk3566"), folder)
    with pytest.MonkeyPatch.context() as own:
        # An inventory and known hosts of the test's own, but the user's cache.
        own.setenv("EDGEKIT_CACHE_DIR", str(cache_root()))
        own.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        own.setenv("HOME", str(folder))
        words = (
            *("flash", image, "--to", disk, "--target", "rk3566", "--yes", "--user", USER),
            *("--name", NAME, "--address", f"127.0.0.1:{machine.port}"),
            *("--ssh-key", f"{key}.pub", "--bundle", "shapes"),
        )
        assert run([*map(str, words)]) == 0
        image.unlink()
        with machine:
            located = locate(NAME, None)
            assert isinstance(located.address, SshAddress)
            known = folder / ".ssh" / "known_hosts"
            address = replace(located.address, known_hosts=known)
            yield Life(machine, disk, address, folder, authority)


def test_flashed_disk_boots_as_what_it_was_provisioned_to_be(life):
    wait_until_up(life.machine, life.address)
    assert "Booting `root-a'" in life.machine.console
    assert life.says("hostname; id -un; sudo -n id -un").split() == [NAME, USER, "root"]
    assert life.says("systemctl --failed --no-legend") == ""


def test_agent_answers_and_the_first_bundle_runs(life):
    with connect(life.address) as device:
        assert device.facts.compatible == ("rockchip,rk3566",)
        assert device.facts.emulated
        active = device.status().current
        assert active is not None
        assert active.name == "shapes"
        life.bundle = active.bundle
        picture = life.folder / "picture.png"
        cv2.imwrite(str(picture), np.full((96, 96, 3), 128, np.uint8))
        frames = frames_of([picture])
        device.push(frame_content(frames))
        request = RunRequest(kind="infer", frames=tuple(frame.sha256 for frame in frames))
        result = device.run(active.bundle, request)
    assert len(result.answers) == 1


def test_power_cut_in_the_middle_of_an_update_leaves_the_device_as_it_was(life):
    update = life.signed("2")
    start, _ = slot_bytes("root-b")
    cut = threading.Event()

    def cut_power():
        """Wait until a good part of the new system is on the disk, and no more."""
        with life.disk.open("rb") as disk:
            while not cut.is_set():
                try:
                    seen = os.lseek(disk.fileno(), start + (96 << 20), os.SEEK_DATA)
                except OSError:
                    seen = start << 1
                if seen < start + (160 << 20):
                    # First, as the update fails before the machine's process is gone.
                    cut.set()
                    life.machine.cut_power()
                    return
                time.sleep(0.02)

    watch = threading.Thread(target=cut_power)
    watch.start()
    try:
        with pytest.raises(DeviceError) as broken:
            update_device(life.located, update, return_s=RETURN_S)
        assert cut.is_set(), broken.value
    finally:
        cut.set()
        watch.join()
    life.machine.power_on()
    wait_until_up(life.machine, life.address)
    told = life.says("cat /proc/cmdline; sudo -n rauc status --output-format=shell")
    assert "rauc.slot=A" in told
    with connect(life.address) as device:
        assert device.status().current.bundle == life.bundle


def test_update_is_repeated_confirmed_and_keeps_what_the_device_is(life):
    update = life.folder / "update-2.raucb"
    done = update_device(life.located, update, return_s=RETURN_S)
    assert (done.outcome, done.version, done.before, done.after) == ("confirmed", "2", "A", "B")
    assert life.says(f"cat {RELEASE}; hostname").split() == ["2", NAME]
    with connect(life.address) as device:
        assert device.status().current.bundle == life.bundle
    environment = life.says("sudo -n grub-editenv /boot/efi/EFI/debian/grubenv list").split("\n")
    assert {"ORDER=B A", "B_OK=1", "B_TRY=0"} <= set(environment)


def test_update_of_a_stranger_and_of_another_device_are_refused(life):
    stranger = make_authority(life.folder, "stranger")
    with pytest.raises(FlashError, match=r"signature|certificate"):
        update_device(life.located, life.signed("3", stranger, life.rootless()), return_s=RETURN_S)
    other = make_bundle(
        life.rootless(), life.folder / "o.raucb", life.authority, compatible="other", version="4"
    )
    with pytest.raises(FlashError, match="is for other"):
        update_device(life.located, other, return_s=RETURN_S)


def test_system_that_does_not_start_gives_way_to_the_former_one(life):
    tried = life.machine.console.count("Booting `root-a'")
    done = update_device(life.located, life.signed("5", root=life.rootless()), return_s=RETURN_S)
    assert (done.outcome, done.before, done.after) == ("fell-back", "B", "B")
    assert "did not start" in done.reason
    assert life.machine.console.count("Booting `root-a'") == tried + 1
    with connect(life.address) as device:
        assert device.status().current.bundle == life.bundle
