"""``edgekit flash`` as it is typed: what it asks, refuses, writes and says."""

import io
import json
import lzma
import sys

import pytest
from disk_images import dos_image, elf, ext4, fat, raspios_image, root_files
from root_trees import DEBIAN, PUBLIC_KEY

from edgekit.app.flash_setup import DEFAULT_USER
from edgekit.catalog.devices import find_device
from edgekit.cli.main import run
from edgekit.core.flash import Disk
from edgekit.device.address import parse_address
from edgekit.device.host_trust import is_known_host
from edgekit.flash.inspect import inspect

MIB = 1 << 20
HOME = f"/home/{DEFAULT_USER}"


class Keyboard(io.StringIO):
    """What a person types."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "pi.img"
    path.write_bytes(raspios_image(tmp_path))
    return path


@pytest.fixture
def card(tmp_path):
    return blank(tmp_path / "card.img")


def blank(path, size_bytes=16 * MIB):
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def flash(*words):
    return run(["flash", *map(str, words)])


def holds(card, image):
    content = image.read_bytes()
    return card.read_bytes()[: len(content)] == content


def is_blank(card):
    return not any(card.read_bytes())


def refusal(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    return "\n".join(lines)


def test_yes_writes_and_verifies_the_image(image, card, capsys):
    assert flash(image, "--to", card, "--target", "rpi4", "--yes") == 0
    assert holds(card, image)
    out, err = capsys.readouterr()
    assert f"ok {card}: 13.6 MB written, 1.4 MB of it sent in " in out
    assert "verified" in out
    assert "raspios, aarch64" in err


def test_person_is_shown_the_disk_and_answers_yes(image, card, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Keyboard("yes\n"))
    assert flash(image, "--to", card, "--target", "rpi4") == 0
    assert holds(card, image)
    err = capsys.readouterr().err
    assert f"All that is on {card} will be lost" in err
    assert "16.8 MB" in err


@pytest.mark.parametrize("answer", ["no", "", "y", "ye"])
def test_any_other_answer_writes_nothing(answer, image, card, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Keyboard(f"{answer}\n"))
    assert flash(image, "--to", card, "--target", "rpi4") == 2
    assert is_blank(card)
    assert "nothing was written: the answer was not yes" in capsys.readouterr().err


def test_where_nobody_can_answer_only_yes_goes_on(image, card, capsys):
    assert flash(image, "--to", card, "--target", "rpi4") == 2
    assert is_blank(card)
    assert "--yes" in refusal(capsys)
    assert flash(image, "--to", card, "--target", "rpi4", "--json") == 2
    fault = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert "nobody" in fault["message"]
    assert is_blank(card)


def test_packed_image_goes_to_two_disks_and_json_says_all(image, card, tmp_path, capsys):
    packed, other = tmp_path / "pi.img.xz", blank(tmp_path / "other.img")
    packed.write_bytes(lzma.compress(image.read_bytes()))
    words = [packed, "--to", card, "--to", other, "-t", "rpi4", "--yes", "--json"]
    assert flash(*words) == 0
    assert holds(card, image)
    assert holds(other, image)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["ok"] is True
    assert [each["disk"]["path"] for each in lines[-1]["disks"]] == [str(card), str(other)]
    assert lines[-1]["image"]["system"] == "raspios"
    assert any(line.get("step") == "flash:unpack" for line in lines)
    assert flash(*words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not any(line.get("step") == "flash:unpack" for line in lines), "was kept"


def test_packed_image_that_does_not_fit_leaves_the_disk_alone(image, card, tmp_path, capsys):
    packed = tmp_path / "pi.img.xz"
    packed.write_bytes(lzma.compress(image.read_bytes()))
    assert flash(packed, "--to", card, "--target", "rk3566", "--yes") == 3
    assert is_blank(card)
    said = refusal(capsys)
    assert "does not fit rk3566" in said
    assert "this image fits rpi3, rpi4" in said


@pytest.mark.parametrize("options", [["-t", "rpi4"], ["--no-inspect"]])
def test_checksum_that_is_not_the_promised_one_leaves_the_disk_unbootable(
    options, image, card, capsys, monkeypatch
):
    monkeypatch.chdir(image.parent)
    for path in (image, f"./{image.name}"):
        assert flash(path, "--to", card, *options, "--yes", "--sha256", "0" * 64) == 3
        assert "SHA-256" in refusal(capsys)
        assert not any(card.read_bytes()[:512])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["IMAGE"], 2, ["no disk is named", "--list"]),
        (["IMAGE", "--to", "CARD"], 2, ["no target", "fits rpi3, rpi4"]),
        (["none.img", "--to", "CARD", "-t", "rpi4"], 3, ["none.img", "path of an image"]),
        (["FOLDER", "--to", "CARD", "--no-inspect"], 3, ["no file", "path of an image"]),
        (["/dev/zero", "--to", "CARD", "--no-inspect"], 3, ["/dev/zero is no file"]),
        (["EMPTY", "--to", "CARD", "--no-inspect"], 3, ["is empty"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi44"], 2, ["rpi44", "rpi4"]),
        (["IMAGE", "--to", "/dev/no-such", "-t", "rpi4"], 3, ["no disk at", "--list"]),
        (["IMAGE", "--to", "FOLDER", "-t", "rpi4"], 3, ["is a directory", "--list"]),
        (["IMAGE", "--to", "IMAGE", "-t", "rpi4"], 3, ["onto itself"]),
        (["IMAGE", "--to", "CARD", "--to", "CARD", "-t", "rpi4"], 3, ["the same disk"]),
        (["IMAGE", "--to", "SMALL", "-t", "rpi4"], 3, ["too small", "512 more"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--sha256", "abc"], 2, ["'abc'", "64"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--wifi-open"], 2, ["--wifi SSID"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--wifi", "x"], 2, ["password", "--wifi-open"]),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", PUBLIC_KEY, "--wifi-open"],
            2, ["--wifi SSID"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", PUBLIC_KEY,
             "--wifi-country", "DE"], 2, ["for a network", "--wifi SSID"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", PUBLIC_KEY, "--wifi", "x",
             "--wifi-open", "--wifi-password-file", "EMPTY"], 2, ["no password to read"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", PUBLIC_KEY, "--wifi", "x",
             "--wifi-password-file", "EMPTY"], 2, ["no Wi-Fi password stands in", "first line"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", PUBLIC_KEY, "--wifi", "x",
             "--wifi-password-file", "LATIN"], 2, ["cannot read the Wi-Fi password", "first line"],
        ),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--name", ""], 2, ["--name is given, and"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", ""], 2, ["--ssh-key is given"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--wifi-country", ""], 2, ["--wifi-country is"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--address", ""], 2, ["--address is given"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--name", "pi"], 2, ["log in", "--ssh-key"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", "/no"], 2, ["/no", ".pub"]),
        (["IMAGE", "--to", "CARD", "-t", "rpi4", "--ssh-key", "EMPTY"], 2, ["log in", ".pub"]),
        (
            ["IMAGE", "--to", "CARD", "--to", "OTHER", "-t", "rpi4", "--name", "pi",
             "--ssh-key", PUBLIC_KEY], 2, ["several disks", "--name"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--hostname", "-rf", "--ssh-key", PUBLIC_KEY],
            2, ["-rf"],
        ),
        (
            ["IMAGE", "--to", "CARD", "-t", "rpi4", "--bundle", "yolo5", "--ssh-key", PUBLIC_KEY],
            2, ["yolo5", "yolov5"],
        ),
    ],
)  # fmt: skip
def test_wrong_input_is_one_clear_error_and_writes_nothing(
    words, code, said, image, card, tmp_path, capsys
):
    places = {
        "IMAGE": image,
        "CARD": card,
        "FOLDER": tmp_path,
        "EMPTY": blank(tmp_path / "empty.img", 0),
        "OTHER": blank(tmp_path / "other.img"),
        "SMALL": blank(tmp_path / "small.img", image.stat().st_size - 512),
    }
    places["LATIN"] = tmp_path / "latin"
    places["LATIN"].write_bytes("grün".encode("latin-1"))
    before = image.read_bytes()
    assert flash(*(places.get(word, word) for word in words), "--yes") == code
    told = refusal(capsys)
    for word in said:
        assert word in told
    assert is_blank(card)
    assert image.read_bytes() == before


def test_what_is_not_recognised_is_written_only_without_inspection(card, tmp_path, capsys):
    odd = tmp_path / "odd.img"
    odd.write_bytes(bytes(range(256)) * 4096)
    assert flash(odd, "--to", card, "--target", "rpi4", "--yes") == 3
    assert "--no-inspect" in refusal(capsys)
    assert is_blank(card)
    assert flash(odd, "--to", card, "--no-inspect", "--yes") == 0
    assert holds(card, odd)


def test_built_in_disk_needs_its_option_spelled_out(image, card, capsys, monkeypatch):
    built_in = Disk(card, 16 * MIB, is_file=True, model="eMMC", removable=False)
    monkeypatch.setattr("edgekit.app.flash.disk_at", lambda _path: built_in)
    assert flash(image, "--to", card, "-t", "rpi4", "--yes") == 3
    assert "--allow-system-disk" in refusal(capsys)
    assert is_blank(card)
    assert flash(image, "--to", card, "-t", "rpi4", "--yes", "--allow-system-disk") == 0
    assert holds(card, image)


def test_card_that_is_exchanged_after_the_question_is_left_alone(image, card, capsys, monkeypatch):
    serials = iter(["first", "second"])
    monkeypatch.setattr(
        "edgekit.app.flash.disk_at",
        lambda path: Disk(path, 16 * MIB, is_file=True, serial=next(serials), removable=True),
    )
    assert flash(image, "--to", card, "-t", "rpi4", "--yes") == 3
    assert "another disk than a moment ago" in refusal(capsys)
    assert is_blank(card)


def test_list_shows_disks_with_the_reason_why_not(capsys, monkeypatch, card):
    disks = [
        Disk(card, 16 * MIB, model="SanDisk Ultra", serial="4C53", port="usb 1-1", removable=True),
        Disk(card.with_name("sda"), 512, model="Internal", mounts=("/",), system=True),
    ]
    monkeypatch.setattr("edgekit.app.flash.find_disks", lambda: disks)
    assert flash("--list") == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert "SanDisk Ultra" in first
    assert first.endswith("yes")
    assert "no: this machine's system (/)" in second
    assert flash("--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["disks"]
    assert [bool(each["refusal"]) for each in listed] == [False, True]


def test_host_key_of_a_device_that_cannot_be_remembered_is_not_lost(
    card, tmp_path, capsys, monkeypatch
):
    root = ext4(tmp_path, {**root_files(), **DEBIAN_FILES}, 32 * MIB)
    boot = fat(tmp_path, {"bcm2711.dtb": raspberry_tree()})
    image = tmp_path / "debian.img"
    image.write_bytes(dos_image((0x0C, boot), (0x83, root)))
    blank(card, image.stat().st_size)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    words = [image, "--to", card, "-t", "rpi4", "--yes", "--ssh-key", PUBLIC_KEY, "--name", "pi"]
    assert flash(*words) == 2
    public = root_of(card).read("/etc/ssh/ssh_host_ed25519_key.pub").decode().strip()
    said = capsys.readouterr().err
    assert "warning: what was flashed is whole" in said
    assert f"its SSH host key is: pi.local {public}" in said


def test_device_is_set_up_in_a_copy_and_kept_in_the_inventory(card, tmp_path, capsys):
    key = tmp_path / "id.pub"
    key.write_text(f"{PUBLIC_KEY}\n")
    (tmp_path / "id").write_text("private")
    boot = fat(tmp_path, {"bcm2711.dtb": raspberry_tree()})
    root = ext4(tmp_path, {**root_files(), **DEBIAN_FILES}, 32 * MIB)
    image = tmp_path / "debian.img"
    image.write_bytes(dos_image((0x0C, boot), (0x83, root)))
    before = image.read_bytes()
    blank(card, len(before))
    words = [image, "--to", card, "-t", "rpi4", "--yes", "--ssh-key", key, "--name", "bench-pi"]
    assert flash(*words, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["device"] == "bench-pi"
    assert result["provisioned"][0] == "ext4"
    assert image.read_bytes() == before
    files = root_of(card)
    assert files.read(f"{HOME}/.ssh/authorized_keys").decode().strip() == PUBLIC_KEY
    assert files.read("/etc/hostname") == b"bench-pi\n"
    assert [each.name for each in files.list(f"{HOME}/.edgekit/agent")]
    entry = find_device("bench-pi")
    assert (entry.address, entry.user, entry.target) == ("bench-pi.local", "edge", "rpi4")
    assert entry.identity_file == tmp_path / "id"
    known = tmp_path / "home/.ssh/known_hosts"
    public = files.read("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()
    assert known.read_text().split()[1:] == public[:2]  # the name may be hashed
    assert is_known_host(parse_address("bench-pi.local"))
    assert flash(*words) == 2
    assert "--replace" in refusal(capsys)
    assert flash(*words, "--replace", "--address", "10.0.0.7:2222") == 0
    entry = find_device("bench-pi")
    assert (entry.address, entry.port) == ("10.0.0.7", 2222)
    assert is_known_host(parse_address("10.0.0.7:2222"))
    anew = root_of(card).read("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()
    assert known.read_text().splitlines()[1].split()[1:] == anew[:2] != public[:2]
    other = blank(tmp_path / "other.img", len(before))
    assert flash(*words[:-2], "--to", other) == 0
    for each in (card, other):
        assert root_of(each).read(f"{HOME}/.ssh/authorized_keys").decode().strip() == PUBLIC_KEY
        kept = root_of(each).read("/etc/ssh/ssh_host_ed25519_key")
        assert kept == DEBIAN["etc/ssh/ssh_host_ed25519_key"].encode(), "one key for two devices"


DEBIAN_FILES = {
    **DEBIAN,
    "usr/bin/bash": elf("aarch64"),
    "sbin": "->usr/sbin",
}


def raspberry_tree():
    from disk_images import device_tree

    return device_tree(("raspberrypi,4-model-b", "brcm,bcm2711"))


def root_of(card):
    import os

    from edgekit.flash.ext4 import Ext4
    from edgekit.flash.region import Region

    part = inspect(card).partitions[1]
    descriptor = os.open(card, os.O_RDONLY)
    return Ext4(Region(descriptor, part.start_bytes, part.size_bytes))
