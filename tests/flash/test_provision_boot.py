import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cloud_init_judges import generated, user_data_faults
from root_trees import DEBIAN, MIB, PUBLIC_KEY, make_disk

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.flash import Partition
from edgekit.flash.provision import HomeFile, Provision, Unit, Wifi, new_host_key, provision
from edgekit.flash.provision.fat_image import FatImage
from edgekit.flash.provision.wifi import netplan, pre_shared_key

yaml = pytest.importorskip("yaml")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("debugfs", "mke2fs", "mcopy", "mformat"))),
    reason="e2fsprogs or mtools is not installed",
)
BOOT = Partition(1, MIB, 8 * MIB, "0x0c", "vfat", "bootfs")
FIRMWARE = "/boot/firmware"
NASTY = 'it\'s $(touch x) "`id`" \\ #: - {}'
LINE = "console=tty1 root=PARTUUID=1234-02 rootfstype=ext4 fsck.repair=yes rootwait quiet\n"


def make_pi(folder, files, *, mounted_at=FIRMWARE):
    """Make an image as of Raspberry Pi OS: FAT in front, ext4 behind."""
    fstab = f"PARTUUID=1234-01 {mounted_at} vfat defaults 0 2\n"
    disk = make_disk(folder, DEBIAN | {"etc/fstab": fstab}, offset=10 * MIB)
    there = f"{disk.path}@@{MIB}"
    subprocess.run(
        ["mformat", "-i", there, "-T", str(BOOT.size_bytes // 512), "-v", "bootfs", "::"],
        check=True,
        capture_output=True,
    )
    for name, text in files.items():
        source = folder / "source"
        source.write_text(text)
        subprocess.run(["mcopy", "-i", there, source, f"::/{name}"], check=True)
    return disk


def copied(disk, to):
    """Copy the boot partition's files out, by mtools."""
    to.mkdir(parents=True)
    subprocess.run(["mcopy", "-s", "-n", "-i", f"{disk.path}@@{MIB}", "::*", to], check=True)
    return to


def given(tmp_path, **changes):
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)) * 4000)
    values = {
        "user": "user",
        "authorized_keys": (f"{PUBLIC_KEY} {NASTY}",),
        "hostname": "bench-pi",
        "wifi": Wifi(NASTY[:32], NASTY, "GB"),
        "host_key": new_host_key(),
        "files": (
            HomeFile(".edgekit/bundles/ab/model.bin", model, 0o640),
            HomeFile(".edgekit/current", link="generations/1"),
            HomeFile(".edgekit/generations/1/bundle", link="../../bundles/ab"),
        ),
        "units": (Unit("edgekit-run.service", "[Service]\nExecStart=/bin/true\n"),),
    }
    return Provision(**(values | changes))


PROGRAMS = {
    "id": 'case $1 in -gn) echo staff ;; *) [ -e "$R/user" ] ;; esac',
    "useradd": 'touch "$R/user"; mkdir -p "$R/home/user"',
    "getent": 'case "$1 $2" in "passwd user") echo "user:x:1000:1000::/home/user:/bin/bash" ;;'
    ' "group gpio") exit 2 ;; *) echo there ;; esac',
    "systemctl": 'case "$*" in *is-enabled\\ userconfig) exit 1 ;; esac',
    **dict.fromkeys(["usermod", "chown", "raspi-config", "rfkill", "cancel-rename"], ""),
}


class Sandbox:
    """A folder that a first-boot script takes for the device, with programs that only note."""

    def __init__(self, folder, boot):
        self.root, self.boot = folder / "root", boot
        self.log = folder / "log"
        programs = folder / "bin"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            program = programs / name
            program.write_text(
                f'#!/bin/sh\nR={self.root}\nprintf "%s\\n" "{name} $*" >>{self.log}\n{text}\n'
            )
            program.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "EDGEKIT_TEST_ROOT": str(self.root),
        }
        for name, text in {
            "etc/hostname": "raspberrypi\n",
            "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
            "etc/ssh/ssh_host_rsa_key": "old",
            "etc/NetworkManager/system-connections/.keep": "",
            "var/lib/systemd/rfkill/platform-a:wlan": "1\n",
        }.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, script):
        done = subprocess.run(
            ["sh", script], env=self.environment, cwd=self.root, check=False, capture_output=True
        )
        said = (self.boot / "edgekit-first-boot.log").read_text()
        assert done.returncode == 0, said
        return said

    def read(self, path):
        return (self.root / path).read_text()


def test_firstrun_stands_where_the_system_looks_for_it(tmp_path):
    for mounted_at in ("/boot", FIRMWARE):
        folder = tmp_path / mounted_at.strip("/").replace("/", "-")
        folder.mkdir()
        disk = make_pi(folder, {"cmdline.txt": LINE}, mounted_at=mounted_at)
        done = provision(disk.path, disk.facts("firstrun", boot=BOOT), given(folder))
        assert done[0] == "firstrun"
        boot = copied(disk, folder / "boot")
        words = (boot / "cmdline.txt").read_text().split()
        assert words[:-3] == LINE.split()
        assert words[-3:] == [
            f"systemd.run={mounted_at}/firstrun.sh",
            "systemd.run_success_action=reboot",
            "systemd.unit=kernel-command-line.target",
        ]
        assert disk.cat("/etc/hostname") == "debian\n"


@pytest.fixture
def pi(tmp_path):
    disk = make_pi(tmp_path, {"cmdline.txt": LINE})
    what = given(tmp_path)
    provision(disk.path, disk.facts("firstrun", boot=BOOT), what)
    return what, Sandbox(tmp_path, copied(disk, tmp_path / "boot"))


def test_image_that_was_provisioned_before_is_provisioned_anew(tmp_path):
    disk = make_pi(tmp_path, CLOUD | {"cmdline.txt": LINE})
    for hostname in ("first", "second"):
        for method in ("firstrun", "cloud-init"):
            what = given(tmp_path, hostname=hostname)
            provision(disk.path, disk.facts(method, boot=BOOT), what)
    boot = copied(disk, tmp_path / "boot")
    assert (boot / "cmdline.txt").read_text().count("systemd.run=") == 1
    assert "HOST=second\n" in (boot / "firstrun.sh").read_text()
    assert json.loads((boot / "user-data").read_text().partition("\n")[2])["hostname"] == "second"
    assert {path.name for path in (boot / "edgekit").iterdir()} == {"payload.tgz", "first-boot.sh"}


def test_firstrun_makes_the_device_what_was_asked_for(pi, tmp_path):
    what, box = pi
    script = box.boot / "firstrun.sh"
    for shell in ("bash", "sh"):
        assert subprocess.run([shell, "-n", script], check=False).returncode == 0
    assert box.run(script).endswith("done\n")
    assert box.read("etc/hostname") == "bench-pi\n"
    assert box.read("etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tbench-pi\n"
    assert {path.name for path in (box.root / "etc/ssh").iterdir()} == {
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
    }
    assert box.read("etc/ssh/ssh_host_ed25519_key") == what.host_key.private
    assert (box.root / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert box.read("home/user/.ssh/authorized_keys") == what.authorized_keys[0] + "\n"
    model = box.root / "home/user/.edgekit/current/bundle/model.bin"
    assert model.read_bytes() == (tmp_path / "model.bin").read_bytes()
    assert (
        box.root / "etc/systemd/system/multi-user.target.wants/edgekit-run.service"
    ).is_symlink()
    network = box.root / "etc/NetworkManager/system-connections/edgekit-wifi.nmconnection"
    assert network.stat().st_mode & 0o777 == 0o600
    assert box.read("var/lib/systemd/rfkill/platform-a:wlan") == "0\n"
    said = box.log.read_text()
    assert "systemctl --quiet disable regenerate_ssh_host_keys" in said
    assert "usermod --append --groups sudo user" in said
    assert "--groups gpio" not in said
    assert not (box.root / "x").exists()


def test_firstrun_leaves_nothing_on_the_boot_partition(pi):
    _, box = pi
    box.run(box.boot / "firstrun.sh")
    names = {path.name for path in box.boot.iterdir()}
    assert names == {"cmdline.txt", "edgekit-first-boot.log"}
    assert (box.boot / "cmdline.txt").read_text() == LINE


def test_firstrun_cut_off_is_run_again(pi):
    what, box = pi
    # The power goes while the user is being made: nothing after it has happened.
    kept = Path(shutil.copytree(box.boot, box.boot.with_name("kept")))
    script = kept / "firstrun.sh"
    text = script.read_text()
    script.write_text(text.replace("try() {", 'try() { [ "$1" != files ] || kill -9 $$;'))
    done = subprocess.run(["sh", script], env=box.environment, check=False)
    assert done.returncode < 0
    assert "systemd.run=" in (kept / "cmdline.txt").read_text()
    script.write_text(text)
    box.boot = kept
    assert box.run(script).endswith("done\n")
    assert box.read("etc/ssh/ssh_host_ed25519_key") == what.host_key.private


def test_firstrun_with_a_broken_archive_says_so_and_ends(pi):
    _, box = pi
    payload = box.boot / "edgekit/payload.tgz"
    payload.write_bytes(payload.read_bytes()[:-2000])
    assert "cannot be read" in box.run(box.boot / "firstrun.sh")
    assert (box.boot / "cmdline.txt").read_text() == LINE
    assert (box.root / "etc/ssh/ssh_host_rsa_key").exists()


def test_failed_step_is_named_in_the_log(pi):
    _, box = pi
    (box.root.parent / "bin/useradd").write_text("#!/bin/sh\nexit 1\n")
    said = box.run(box.boot / "firstrun.sh")
    assert "failed: user\n" in said
    assert "done" not in said
    assert box.read("etc/hostname") == "bench-pi\n"


BARE = {"authorized_keys": (), "hostname": None, "wifi": None, "host_key": None, "sudo": False}
CLOUD = {"user-data": "#cloud-config\n", "meta-data": "instance-id: a\n", "network-config": ""}


@pytest.fixture
def cloud(tmp_path):
    disk = make_pi(tmp_path, CLOUD)
    what = given(tmp_path)
    done = provision(disk.path, disk.facts("cloud-init", "firstrun", boot=BOOT), what)
    assert done[0] == "cloud-init"
    return what, Sandbox(tmp_path, copied(disk, tmp_path / "boot"))


def test_cloud_init_is_told_all_of_it(cloud):
    what, box = cloud
    text = (box.boot / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    (user,) = data["users"]
    assert (user["name"], user["lock_passwd"]) == ("user", True)
    assert user["ssh_authorized_keys"] == list(what.authorized_keys)
    assert data["hostname"] == "bench-pi"
    assert data["ssh_keys"]["ed25519_private"] == what.host_key.private
    network = yaml.safe_load((box.boot / "network-config").read_text())
    assert list(network["wifis"]["wlan0"]["access-points"]) == [what.wifi.ssid]
    assert network["version"] == 2
    assert "eth0" in network["ethernets"]
    meta = yaml.safe_load((box.boot / "meta-data").read_text())
    assert meta["instance-id"].startswith("edgekit-")


@pytest.mark.network
@pytest.mark.parametrize("changes", [{}, {"hostname": "pi.lab.example"}, BARE])
def test_cloud_init_finds_its_user_data_valid(tmp_path, changes):
    disk = make_pi(tmp_path, CLOUD)
    provision(disk.path, disk.facts("cloud-init", boot=BOOT), given(tmp_path, **changes))
    assert user_data_faults((copied(disk, tmp_path / "boot") / "user-data").read_bytes()) == []


@pytest.mark.network
def test_cloud_init_finds_the_seed_on_the_root_valid(tmp_path):
    disk = make_pi(tmp_path, {"EFI": ""})
    provision(disk.path, disk.facts("cloud-init", "ext4", boot=BOOT), given(tmp_path))
    seed = disk.debugfs("cat /var/lib/cloud/seed/nocloud/user-data")
    assert user_data_faults(seed) == []


@pytest.mark.network
def test_cloud_init_would_see_a_key_that_it_does_not_know(cloud):
    _, box = cloud
    head, _, text = (box.boot / "user-data").read_bytes().partition(b"\n")
    for wrong in (
        lambda data: data.update(host_name="pi"),
        lambda data: data["users"][0].update(ssh_keys=["ssh-ed25519 AAAA"]),
        lambda data: data["ssh_keys"].update(ed25519="x"),
        lambda data: data.update(runcmd="sh /x"),
    ):
        data = json.loads(text)
        wrong(data)
        assert len(user_data_faults(head + b"\n" + json.dumps(data).encode())) == 1


@pytest.mark.network
@pytest.mark.parametrize("password", [NASTY, None])
def test_netplan_joins_the_network_that_was_given(tmp_path, password):
    what = given(tmp_path, wifi=Wifi(NASTY[:32], password, "GB", hidden=True))
    disk = make_pi(tmp_path, CLOUD)
    provision(disk.path, disk.facts("cloud-init", boot=BOOT), what)
    config = (copied(disk, tmp_path / "boot") / "network-config").read_bytes()
    made = generated(config, tmp_path / "device")
    said = made["run/netplan/wpa-wlan0.conf"].split("\n")
    assert f'  ssid="{what.wifi.ssid}"' in said
    assert ("  key_mgmt=NONE" if password is None else f"  psk={pre_shared_key(what.wifi)}") in said
    assert {"country=GB", "  scan_ssid=1"} <= set(said)
    for name in ("wlan0", "eth0"):
        assert "DHCP=ipv4" in made[f"run/systemd/network/10-netplan-{name}.network"]


@pytest.mark.network
def test_netplan_would_see_a_key_that_it_does_not_know(tmp_path):
    network = netplan(Wifi("workshop", "correct horse"))
    network["wifis"]["wlan0"]["access-points"]["workshop"]["psk"] = "0" * 64
    with pytest.raises(ValueError, match="unknown key 'psk'"):
        generated(json.dumps(network).encode(), tmp_path)


def test_cloud_init_script_unpacks_and_takes_the_host_key_away(cloud):
    what, box = cloud
    (box.root / "home/user").mkdir(parents=True)
    assert box.run(box.boot / "edgekit/first-boot.sh").endswith("done\n")
    assert box.read("etc/ssh/ssh_host_ed25519_key") == what.host_key.private
    assert (box.root / "home/user/.edgekit/current/bundle/model.bin").exists()
    left = b"".join(path.read_bytes() for path in box.boot.rglob("*") if path.is_file())
    assert what.host_key.private.splitlines()[2].encode() not in left
    assert "systemctl --quiet --no-block restart edgekit-run.service" in box.log.read_text()


def test_cloud_image_without_seed_on_fat_is_edited_on_ext4(tmp_path):
    disk = make_pi(tmp_path, {"EFI": ""})
    what = given(tmp_path)
    provision(disk.path, disk.facts("cloud-init", "ext4", boot=BOOT), what)
    data = yaml.safe_load(disk.cat("/var/lib/cloud/seed/nocloud/user-data"))
    assert data["ssh_keys"]["ed25519_private"] == what.host_key.private
    assert disk.cat("/etc/ssh/ssh_host_ed25519_key") == what.host_key.private
    assert disk.mode_and_owner("/var/lib/cloud/seed/nocloud/user-data") == ("0600", 0, 0)
    assert disk.is_clean()


def test_raspberry_pi_os_without_its_seed_is_given_one_on_the_boot_partition(tmp_path):
    disk = make_pi(tmp_path, {"cmdline.txt": LINE})
    facts = replace(disk.facts("cloud-init", boot=BOOT), system="raspios")
    provision(disk.path, facts, given(tmp_path))
    assert (copied(disk, tmp_path / "boot") / "user-data").exists()
    assert disk.cat("/etc/hostname") == "debian\n"


def test_root_and_what_does_not_fit_are_refused(tmp_path):
    disk = make_pi(tmp_path, CLOUD | {"cmdline.txt": LINE})
    before = disk.path.read_bytes()
    large = tmp_path / "large"
    large.write_bytes(os.urandom(9 * MIB))
    for init in ("cloud-init", "firstrun"):
        facts = disk.facts(init, boot=BOOT)
        with pytest.raises(UsageError, match="root"):
            provision(disk.path, facts, Provision("root"))
        with pytest.raises(FlashError, match="no room"):
            provision(disk.path, facts, given(tmp_path, files=(HomeFile("large", large),)))
    assert disk.path.read_bytes() == before


def test_image_that_is_not_raspberry_pi_os_is_refused(tmp_path):
    disk = make_pi(tmp_path, {"cmdline.txt": "two\nlines\n"})
    with pytest.raises(FlashError, match="not one line"):
        provision(disk.path, disk.facts("firstrun", boot=BOOT), given(tmp_path))
    with pytest.raises(FlashError, match="no FAT"):
        provision(disk.path, disk.facts("firstrun"), given(tmp_path))


def test_missing_mtools_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(FlashError, match="mcopy") as caught:
        FatImage(tmp_path / "image", 0).read("/a")
    assert "mtools" in caught.value.hint


def test_user_data_is_json_that_yaml_reads_alike(cloud):
    _, box = cloud
    text = (box.boot / "user-data").read_text()
    assert yaml.safe_load(text) == json.loads(text.partition("\n")[2])
