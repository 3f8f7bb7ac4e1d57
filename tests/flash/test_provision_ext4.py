import os
import shutil
import struct
import subprocess

import pytest
from root_trees import DEBIAN, MIB, PUBLIC_KEY, make_disk

from edgekit.core.errors import FlashError, UsageError
from edgekit.flash.provision import HomeFile, Provision, Unit, Wifi, new_host_key, provision
from edgekit.flash.provision.ext4_image import Entry, Ext4Image

pytestmark = pytest.mark.skipif(
    not (shutil.which("debugfs") and shutil.which("mke2fs")), reason="e2fsprogs is not installed"
)
HOME = "/home/user"


@pytest.fixture
def disk(tmp_path):
    return make_disk(tmp_path, DEBIAN)


def given(tmp_path, **changes):
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)) * 2000)
    os.utime(model, (1_600_000_000, 1_600_000_000))
    values = {
        "user": "user",
        "authorized_keys": (PUBLIC_KEY,),
        "hostname": "bench-pi",
        "wifi": Wifi("café; [x]", "pass word", "GB"),
        "host_key": new_host_key(),
        "files": (
            HomeFile(".edgekit", mode=0o700),
            HomeFile(".edgekit/bundles/ab/model.bin", model, 0o640),
            HomeFile(".edgekit/generations/1/bundle", link="../../bundles/ab"),
            HomeFile(".edgekit/current", link="generations/1"),
        ),
        "units": (Unit("edgekit-run.service", "[Service]\nExecStart=/bin/true\n"),),
    }
    return Provision(**(values | changes))


def test_device_is_what_was_asked_for(disk, tmp_path):
    what = given(tmp_path)
    done = provision(disk.path, disk.facts("ext4"), what)
    assert done[:3] == ("ext4", "hostname bench-pi", "user user")
    assert done[-3:] == ("1 authorised key", "4 files", "1 unit")
    assert disk.is_clean()
    assert disk.cat("/etc/hostname") == "bench-pi\n"
    assert "127.0.1.1\tbench-pi\n" in disk.cat("/etc/hosts")
    assert "debian" not in disk.cat("/etc/hosts")
    # 1000 is a group's already, so the user is not given it.
    assert disk.cat("/etc/passwd").endswith(f"user:x:1001:1001::{HOME}:/bin/bash\n")
    assert "\nuser:*:" in disk.cat("/etc/shadow")
    assert "sudo:x:27:user\n" in disk.cat("/etc/group")
    assert "video:*::user\n" in disk.cat("/etc/gshadow")
    assert disk.cat("/etc/sudoers.d/010-edgekit") == "user ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert disk.mode_and_owner("/etc/sudoers.d/010-edgekit") == ("0440", 0, 0)
    assert disk.mode_and_owner("/etc/shadow")[0] == "0640"
    assert disk.cat(f"{HOME}/.ssh/authorized_keys") == PUBLIC_KEY + "\n"
    assert disk.mode_and_owner(f"{HOME}/.ssh") == ("0700", 1001, 1001)
    assert disk.mode_and_owner(f"{HOME}/.ssh/authorized_keys") == ("0600", 1001, 1001)
    assert disk.mode_and_owner(f"{HOME}/.profile") == ("0644", 1001, 1001)


def test_first_bundle_stands_below_the_home_folder(disk, tmp_path):
    what = given(tmp_path)
    provision(disk.path, disk.facts("ext4"), what)
    assert disk.mode_and_owner(f"{HOME}/.edgekit") == ("0700", 1001, 1001)
    assert disk.mode_and_owner(f"{HOME}/.edgekit/bundles") == ("0755", 1001, 1001)
    model = f"{HOME}/.edgekit/current/bundle/model.bin"
    assert disk.debugfs(f"cat {model}") == (tmp_path / "model.bin").read_bytes()
    assert disk.mode_and_owner(model) == ("0640", 1001, 1001)
    assert " mtime: 0x5f5e1000" in disk.debugfs(f"stat {model}").decode()


def test_host_key_is_the_only_one(disk, tmp_path):
    what = given(tmp_path)
    provision(disk.path, disk.facts("ext4"), what)
    keys = {name for name in disk.names("/etc/ssh") if name.startswith("ssh_host")}
    assert keys == {"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"}
    assert disk.mode_and_owner("/etc/ssh/ssh_host_ed25519_key") == ("0600", 0, 0)
    private = tmp_path / "key"
    private.write_text(disk.cat("/etc/ssh/ssh_host_ed25519_key"))
    private.chmod(0o600)
    said = subprocess.run(
        ["ssh-keygen", "-y", "-f", private], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == what.host_key.public


def test_service_that_would_make_new_host_keys_is_not_started(tmp_path):
    wants = "etc/systemd/system/multi-user.target.wants"
    disk = make_disk(tmp_path, DEBIAN | {f"{wants}/regenerate_ssh_host_keys.service": ""})
    provision(disk.path, disk.facts("ext4"), given(tmp_path, host_key=None))
    assert "regenerate_ssh_host_keys.service" in disk.names(f"/{wants}")
    assert "ssh_host_rsa_key" in disk.names("/etc/ssh")
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert "regenerate_ssh_host_keys.service" not in disk.names(f"/{wants}")


def test_services_are_started(disk, tmp_path):
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    wants = "/etc/systemd/system/multi-user.target.wants"
    assert {"ssh.service", "edgekit-run.service"} <= disk.names(wants)
    said = disk.debugfs(f"stat {wants}/ssh.service").decode()
    assert '"/usr/lib/systemd/system/ssh.service"' in said


def test_wifi_is_told_to_the_service_that_the_image_has(tmp_path):
    path = "/etc/NetworkManager/system-connections/edgekit-wifi.nmconnection"
    (tmp_path / "nm").mkdir()
    disk = make_disk(tmp_path / "nm", DEBIAN)
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert disk.mode_and_owner(path) == ("0600", 0, 0)
    assert "pass word" not in disk.cat(path)
    assert "ieee80211_regdom=GB" in disk.cat("/etc/modprobe.d/edgekit-wifi.conf")
    rest = {name: text for name, text in DEBIAN.items() if "NetworkManager" not in name}
    (tmp_path / "none").mkdir()
    disk = make_disk(tmp_path / "none", rest)
    with pytest.raises(FlashError, match="no network service"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))
    (tmp_path / "netplan").mkdir()
    disk = make_disk(tmp_path / "netplan", rest | {"usr/sbin/netplan": ""})
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert '"café; [x]"' in disk.cat("/etc/netplan/90-edgekit-wifi.yaml")
    (tmp_path / "ifupdown").mkdir()
    disk = make_disk(
        tmp_path / "ifupdown", rest | {"usr/sbin/wpa_supplicant": "", "usr/sbin/ifup": ""}
    )
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert "ssid=636166c3a9" in disk.cat("/etc/wpa_supplicant/wpa_supplicant.conf")


ODD_NAMES = ["a b", " ", "x ", "<12>", "ünï€", "#;&|!*?[]{}()~%@^=+,:<>", "a" * 200, "- x", "q/.y"]


def test_odd_names_arrive_as_they_are(disk, tmp_path):
    source = tmp_path / 'it\'s "here"'
    source.write_bytes(b"content")
    files = tuple(HomeFile(f"odd/{name}", source) for name in ODD_NAMES)
    links = tuple(
        HomeFile(f"links/{number}", link=f"../odd/{name}") for number, name in enumerate(ODD_NAMES)
    )
    provision(disk.path, disk.facts("ext4"), given(tmp_path, files=(*files, *links)))
    root = Ext4Image(disk.path, disk.offset)
    for name in ODD_NAMES:
        assert root.read(f"{HOME}/odd/{name}") == b"content", name
    assert set(root.names(f"{HOME}/links")) == {str(number) for number in range(len(links))}


def test_second_time_changes_nothing_but_keys(disk, tmp_path):
    facts = disk.facts("ext4")
    provision(disk.path, facts, given(tmp_path))
    before = {name: disk.cat(f"/etc/{name}") for name in ("passwd", "group", "hosts", "shadow")}
    provision(disk.path, facts, given(tmp_path))
    assert before == {name: disk.cat(f"/etc/{name}") for name in before}
    assert disk.is_clean()


def test_user_of_the_image_is_kept_and_their_known_password_is_not(tmp_path):
    files = DEBIAN | {
        "etc/passwd": "user:x:1007:1008::/srv/u:/usr/sbin/nologin\n",
        "etc/shadow": "user:$6$known:1:0:99999:7:::\n",
        "srv/u/.keep": "",
    }
    disk = make_disk(tmp_path, files)
    provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert disk.cat("/etc/passwd") == "user:x:1007:1008::/srv/u:/bin/bash\n"
    assert disk.cat("/etc/shadow").startswith("user:*:")
    assert disk.mode_and_owner("/srv/u/.ssh") == ("0700", 1007, 1008)


def test_every_root_of_an_image_with_two_slots_is_edited(disk, tmp_path):
    both = tmp_path / "both.img"
    content = disk.path.read_bytes()
    both.write_bytes(content + content[disk.offset :])
    facts = disk.facts("ext4")
    second = type(disk)(both, len(content), disk.size)
    twice = type(facts)(
        both.stat().st_size,
        "gpt",
        (*facts.partitions, second.facts().partitions[0]),
        (),
        (),
        "",
        ("ext4",),
    )
    provision(both, twice, given(tmp_path))
    assert second.cat("/etc/hostname") == "bench-pi\n"
    assert type(disk)(both, disk.offset, disk.size).cat("/etc/hostname") == "bench-pi\n"


def test_image_without_partitions_is_a_root_of_its_own(tmp_path):
    disk = make_disk(tmp_path, DEBIAN, offset=0)
    facts = type(disk.facts())(disk.path.stat().st_size, "", (), (), (), "", ("ext4",))
    provision(disk.path, facts, given(tmp_path))
    assert disk.cat("/etc/hostname") == "bench-pi\n"


def test_unclean_journal_is_refused(disk, tmp_path):
    with disk.path.open("r+b") as file:
        at = disk.offset + 1024 + 0x60
        file.seek(at)
        (flags,) = struct.unpack("<I", file.read(4))
        file.seek(at)
        file.write(struct.pack("<I", flags | 4))
    before = disk.path.read_bytes()
    with pytest.raises(FlashError, match="journal"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert disk.path.read_bytes() == before


def test_damaged_file_system_is_refused(disk, tmp_path):
    block = int(disk.debugfs("blocks /etc/hosts").split()[0])
    subprocess.run(
        ["debugfs", "-w", "-R", f"freeb {block}", disk.name], check=True, capture_output=True
    )
    with pytest.raises(FlashError, match="damaged"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))


def test_what_does_not_fit_is_refused_before_anything_is_written(disk, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * (17 * MIB))
    with pytest.raises(FlashError, match="no room"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path, files=(HomeFile("large", large),)))
    assert "large" not in disk.names(HOME)


def test_image_without_sshd_or_root_is_refused(tmp_path):
    bare = {name: text for name, text in DEBIAN.items() if name != "usr/sbin/sshd"}
    (tmp_path / "a").mkdir()
    disk = make_disk(tmp_path / "a", bare)
    with pytest.raises(FlashError, match="no OpenSSH"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))
    (tmp_path / "b").mkdir()
    disk = make_disk(tmp_path / "b", {"data/file": ""})
    with pytest.raises(FlashError, match="no ext4 root"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))
    with pytest.raises(FlashError, match="no first-boot method"):
        provision(disk.path, disk.facts(), given(tmp_path))


def test_home_on_another_file_system_is_refused(tmp_path):
    fstab = "# /home is elsewhere\nLABEL=root / ext4\nLABEL=data /home ext4 defaults 0 2\n"
    disk = make_disk(tmp_path, DEBIAN | {"etc/fstab": fstab})
    with pytest.raises(FlashError, match="another file system at /home"):
        provision(disk.path, disk.facts("ext4"), given(tmp_path))
    assert "user" not in disk.cat("/etc/passwd")


def test_file_that_does_not_exist_is_refused_before_anything_is_written(disk, tmp_path):
    before = disk.path.read_bytes()
    what = given(tmp_path, files=(HomeFile("a", tmp_path / "none"),))
    with pytest.raises(UsageError, match="is no file"):
        provision(disk.path, disk.facts("ext4"), what)
    assert disk.path.read_bytes() == before


def test_edit_that_did_not_hold_is_found(disk, monkeypatch):
    root = Ext4Image(disk.path, disk.offset)
    monkeypatch.setattr(root, "_write", lambda *_: "")
    with pytest.raises(FlashError, match="not written"):
        root.put([Entry("/etc/hostname", content=b"other\n")])


def test_many_files_and_long_links_are_read_back(disk):
    root = Ext4Image(disk.path, disk.offset)
    entries = [Entry(f"/srv/many/{n:04}-{'x' * 40}", content=str(n).encode()) for n in range(600)]
    entries.append(Entry("/srv/long", "link", content=b"y/" * 60))
    root.put(entries)
    root.check()
    assert root.read(f"/srv/many/0599-{'x' * 40}") == b"599"
    assert len(root.names("/srv/many")) == 600


def test_folder_is_not_put_where_a_file_stands(disk):
    root = Ext4Image(disk.path, disk.offset)
    with pytest.raises(FlashError, match="is a file, not a folder"):
        root.put([Entry("/etc/hostname/x", content=b"")])


def test_armbian_keeps_the_host_key_and_asks_nothing(tmp_path):
    files = DEBIAN | {
        "root/.not_logged_in_yet": "",
        "etc/systemd/system/getty@.service.d/override.conf": "[Service]\n",
        "etc/default/armbian-firstrun": "OPENSSHD_REGENERATE_HOST_KEYS=true\n",
        "usr/lib/armbian/armbian-firstrun": "if $OPENSSHD_REGENERATE_HOST_KEYS; then\n"
        "\trm -f /etc/ssh/ssh_host*\nfi\n",
    }
    disk = make_disk(tmp_path, files)
    done = provision(disk.path, disk.facts("armbian-first-login", "ext4"), given(tmp_path))
    assert done[0] == "armbian-first-login"
    assert disk.names("/root") == {".keep"}
    assert not disk.names("/etc/systemd/system/getty@.service.d")
    assert disk.cat("/etc/default/armbian-firstrun") == "OPENSSHD_REGENERATE_HOST_KEYS=false\n"
    assert "rm -f /etc/ssh" in disk.cat("/usr/lib/armbian/armbian-firstrun")
    assert disk.cat("/etc/shadow").startswith("root:*:")
    assert disk.is_clean()


def test_old_armbian_loses_the_line_that_removes_host_keys(tmp_path):
    script = "#!/bin/bash\n\t# SSH Keys creation\n\trm -f /etc/ssh/ssh_host*\n\texit 0\n"
    disk = make_disk(tmp_path, DEBIAN | {"usr/lib/armbian/armbian-firstrun": script})
    provision(disk.path, disk.facts("armbian-first-login"), given(tmp_path))
    said = disk.cat("/usr/lib/armbian/armbian-firstrun")
    assert "rm -f" not in said
    assert subprocess.run(["bash", "-n"], input=said.encode(), check=False).returncode == 0
