import contextlib

import pytest
from disk_images import device_tree, need, say
from hypothesis import given
from hypothesis import strategies as some

from edgekit.flash.device_trees import DeviceTree, read_device_tree
from edgekit.flash.region import UnreadableError

words = some.text(some.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(some.lists(words, min_size=1, max_size=5), words)
def test_what_the_root_says_is_read(compatible, model):
    blob = device_tree(tuple(compatible), model)
    assert read_device_tree(blob) == DeviceTree(model, tuple(compatible))


@given(some.data())
def test_broken_tree_is_refused_or_read_but_never_crashes(data):
    blob = bytearray(device_tree(("raspberrypi,4-model-b", "brcm,bcm2711")))
    for at in data.draw(some.lists(some.integers(0, len(blob) - 1), max_size=4)):
        blob[at] = data.draw(some.integers(0, 255))
    cut = bytes(blob[: data.draw(some.integers(0, len(blob)))])
    for each in (bytes(blob), cut):
        with contextlib.suppress(UnreadableError):
            assert isinstance(read_device_tree(each), DeviceTree)


@given(some.binary(max_size=200))
def test_what_is_no_tree_is_refused(blob):
    with pytest.raises(UnreadableError):
        read_device_tree(blob)


def test_tree_with_padding_between_is_read():
    blob = device_tree(("a,b",), more=b"\0\0\0\4" * 3)
    assert read_device_tree(blob).compatible == ("a,b",)


def test_tree_of_the_compiler_is_read(tmp_path):
    need("dtc")
    source = tmp_path / "board.dts"
    source.write_text(
        '/dts-v1/; / { #address-cells = <1>; compatible = "vendor,board", "vendor,soc";\n'
        'model = "Board"; empty; cpus { cpu { compatible = "arm,cortex-a72"; }; }; };'
    )
    say("dtc", "-q", "-O", "dtb", "-o", tmp_path / "board.dtb", source)
    tree = read_device_tree((tmp_path / "board.dtb").read_bytes())
    assert tree == DeviceTree("Board", ("vendor,board", "vendor,soc"))
