"""Wheels for the board."""

import pytest

from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.wheels import platform_tags, resolve


def test_platform_tags_aarch64_reach_down_to_manylinux2014():
    tags = platform_tags("aarch64", (2, 31))
    assert tags[0] == "manylinux_2_31_aarch64"
    assert tags[-1] == "linux_aarch64"
    assert "manylinux2014_aarch64" in tags
    assert "manylinux_2_32_aarch64" not in tags
    assert "manylinux2010_aarch64" not in tags


def test_platform_tags_x86_64_hold_all_legacy_names():
    tags = platform_tags("x86_64", (2, 36))
    assert {f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1")} <= set(
        tags
    )


def test_resolve_without_packages_is_an_empty_pack(facts, tmp_path):
    device = facts()
    spec = RuntimeSpec(device.pythons[0], tmp_path / "board.txt", ())
    pack = resolve(spec, device, emit=ignore)
    assert pack.wheels == ()
    assert pack.python == "/usr/bin/python3"


def test_resolve_musl_is_refused(facts):
    device = facts(libc="musl")
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    with pytest.raises(ToolboxError, match="musl"):
        resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)


def test_resolve_without_network_says_so(facts, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    device = facts()
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    with pytest.raises(ToolboxError) as caught:
        resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)
    assert "ncnn==" in caught.value.message
    assert "could not be fetched" in caught.value.message
    assert "reachable" in caught.value.hint


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("machine", "python", "glibc", "tag"),
    [
        ("aarch64", "3.9.2", "2.31", "cp39"),
        ("aarch64", "3.10.12", "2.35", "cp310"),
        ("aarch64", "3.11.2", "2.36", "cp311"),
        ("aarch64", "3.13.5", "2.41", "cp313"),
        ("aarch64", "3.6.9", "2.27", "cp36"),
        ("armv7l", "3.11.2", "2.36", "cp311"),
    ],
)
def test_resolve_ncnn_finds_the_wheel_of_the_board(facts, machine, python, glibc, tag):
    device = facts(machine, python, glibc)
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    pack = resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)
    (wheel,) = pack.wheels
    assert f"-{tag}-" in wheel.path
    assert machine in wheel.path


@pytest.mark.network
def test_resolve_names_package_python_and_glibc_where_no_wheel_exists(facts):
    device = facts(glibc="2.27")
    lock = load_engine("onnxruntime").build_script.with_name("board.txt")
    spec = RuntimeSpec(device.pythons[0], lock, ("onnxruntime",))
    with pytest.raises(ToolboxError) as caught:
        resolve(spec, device, emit=ignore)
    for word in ("onnxruntime==", "Python 3.11", "glibc 2.27", "aarch64"):
        assert word in caught.value.message
    assert caught.value.hint
