"""A flashing station's recipe: read strictly, with every fault told."""

import pytest

from edgekit.app.station_recipe import method_of, read_station
from edgekit.core.errors import CatalogError

WHOLE = """
target = "rpi4"
image = "images/debian.img.xz"
name = "bench-{n:02}"
first = 5
count = 3
ports = ["1-1.2", "usb 1-1.3", "mmc0"]

[names]
"1-1.3" = "left"

[setup]
ssh_keys = ["keys/me.pub", "ssh-ed25519 AAAA me"]
wifi = "workshop"
wifi_password_file = "wifi"
hostname = "pi-{port}"
"""


def read(folder, text):
    file = folder / "station.toml"
    file.write_text(text)
    return read_station(file)


def test_paths_count_from_the_recipe_and_sockets_have_one_name(tmp_path):
    recipe = read(tmp_path, WHOLE)
    assert recipe.image == str(tmp_path / "images/debian.img.xz")
    assert recipe.ports == ("usb 1-1.2", "usb 1-1.3", "mmc0")
    assert recipe.serves("usb 1-1.2")
    assert not recipe.serves("usb 1-1.4")
    assert recipe.setup.ssh_keys == (str(tmp_path / "keys/me.pub"), "ssh-ed25519 AAAA me")
    assert recipe.setup.wifi_password_file == tmp_path / "wifi"
    assert method_of(recipe).name == "sdcard"
    assert recipe.name_of(5, "usb 1-1.2") == "bench-05"
    assert recipe.name_of(5, "usb 1-1.3") == "left"
    assert recipe.hostname_of(5, "usb 1-1.2") == "pi-1-1-2"


def test_options_of_the_method_are_paths_where_it_says_so(tmp_path):
    text = 'target = "rk3588"\nmethod = "rockusb"\nimage = "https://example.org/a.img"\n'
    recipe = read(tmp_path, f'{text}[options]\nloader = "l.bin"\ncheck = "sample"\n')
    assert recipe.options == {"loader": str(tmp_path / "l.bin"), "check": "sample"}
    assert recipe.image == "https://example.org/a.img"


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        ("count = 3", "conut = 3", 6, "unknown key 'conut'.*did you mean 'count'"),
        ("rpi4", "rpi44", 2, "no target is named 'rpi44'.*did you mean rpi4"),
        ('image = "images/debian.img.xz"', "", 1, "the method sdcard needs key 'image'"),
        ("bench-{n:02}", "bench", 4, "is the same for every unit"),
        ("bench-{n:02}", "bench-{m}", 4, "has the placeholder {m}; known: {n}, {port}"),
        ("bench-{n:02}", "Bench {n}", 4, "makes 'Bench 1', which cannot name a device"),
        ("bench-{n:02}", "bench-{n", 4, "is no pattern"),
        ("bench-{n:02}", "bench-{n.real}", 4, "has the placeholder {n.real}"),
        ('"left"', '"Left"', 10, "'Left' cannot name a device"),
        ('"keys/me.pub", "ssh-ed25519 AAAA me"', "", 13, "nobody could log in"),
        ("first = 5", 'sha256 = "abc"', 5, "'abc' is no SHA-256"),
        ('wifi = "workshop"', 'wifi_country = "DE"', 15, "setup.wifi names none"),
        ("first = 5", "first = -1", 5, "first must not be negative"),
        ("[names]", '[options]\nloader = "x"\n[names]', 10, "sdcard has no option 'loader'"),
        ("first = 5", 'method = "rockusb"', 5, "target rpi4 is not flashed by rockusb"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(tmp_path, old, new, line, fault):
    assert old in WHOLE
    with pytest.raises(CatalogError, match=fault) as caught:
        read(tmp_path, WHOLE.replace(old, new, 1))
    assert f"station.toml:{line}:" in caught.value.message


def test_method_that_brings_its_system_takes_no_image_and_no_setup(tmp_path):
    text = 'target = "jetson-agx-orin"\nimage = "a.img"\n[setup]\nssh_keys = ["k.pub"]\n'
    with pytest.raises(CatalogError) as caught:
        read(tmp_path, text)
    assert "brings its own system and has no key 'image'" in caught.value.message
    assert "[setup] is for images" in caught.value.message
