"""Facts read from the kernel trees of other boards."""

import os
from pathlib import Path

import pytest

from device_agent.probe import Roots, facts, userland_machine
from device_agent.pythons import find_pythons

BOARDS = Path(__file__).parent / "boards"


def probe(board: str):
    roots = Roots(*(str(BOARDS / board / tree) for tree in ("proc", "sys", "etc")))
    return facts(roots, str(BOARDS))


@pytest.mark.parametrize(
    ("board", "model", "compatible", "parts", "os_name"),
    [
        (
            "rk3566",
            "Radxa ROCK 3C",
            ["radxa,rock-3c", "rockchip,rk3566"],
            [0xD05] * 4,
            "Debian GNU/Linux 12 (bookworm)",
        ),
        (
            "rpi4",
            "Raspberry Pi 4 Model B Rev 1.4",
            ["raspberrypi,4-model-b", "brcm,bcm2711"],
            [0xD08] * 4,
            "Debian GNU/Linux 13 (trixie)",
        ),
        (
            "jetson-nano",
            "NVIDIA Jetson Nano Developer Kit",
            ["nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"],
            [0xD07] * 4,
            "Ubuntu 18.04.6 LTS",
        ),
        (
            "rk3399",
            "Firefly RK3399 Board",
            ["firefly,firefly-rk3399", "rockchip,rk3399"],
            [0xD03] * 4 + [0xD08] * 2,
            "",
        ),
    ],
)
def test_board_is_recognised(board, model, compatible, parts, os_name):
    found = probe(board)
    assert found["model"] == model
    assert found["compatible"] == compatible
    assert found["cpu_parts"] == parts
    assert found["cpu_count"] == len(parts)
    assert found["os_name"] == os_name
    assert "asimd" in found["cpu_features"]
    assert found["emulated"] is False


def test_release_of_jetson_linux_is_told_on_a_jetson_alone():
    assert probe("jetson-nano")["l4t"] == "32.7.1"
    assert probe("rpi4")["l4t"] is None


def test_memory_is_in_bytes_and_absent_where_the_kernel_is_silent():
    assert probe("rk3566")["memory_total_bytes"] == 3922104 * 1024
    assert probe("rk3566")["memory_available_bytes"] == 3411200 * 1024
    assert probe("rk3399")["memory_total_bytes"] is None
    assert probe("rk3399")["memory_available_bytes"] is None


def test_virtual_board_is_marked_as_emulated():
    found = probe("rk3566-virtual")
    assert found["emulated"] is True
    assert found["model"] is None
    assert found["compatible"] == []


def test_empty_trees_give_facts_without_inventions(tmp_path):
    found = facts(Roots(str(tmp_path), str(tmp_path), str(tmp_path)), str(tmp_path))
    assert found["model"] is None
    assert found["cpu_parts"] == []
    assert found["cpu_features"] == []
    assert found["cpu_count"] == os.cpu_count()
    assert found["memory_total_bytes"] is None
    assert found["os_name"] == ""


def test_32_bit_userland_on_a_64_bit_kernel_is_armv7l(monkeypatch):
    import sys

    class System:
        machine = "aarch64"

    monkeypatch.setattr(os, "uname", System)
    assert userland_machine() == "aarch64"
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert userland_machine() == "armv7l"


def make_python(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\x7fELF and so on")
    (folder / name).chmod(0o755)


def make_numpy(site: Path, info: str, core: str, tag: str) -> None:
    (site / info).mkdir(parents=True)
    (site / "numpy" / core).mkdir(parents=True)
    (site / "numpy" / core / f"_multiarray_umath.cpython-{tag}-aarch64-linux-gnu.so").touch()


def in_folder(folder: Path):
    return {
        Path(python["executable"]).name: (python["version"], python["numpy"])
        for python in find_pythons(str(folder))
        if python["executable"].startswith(str(folder))
    }


@pytest.mark.parametrize(
    ("info", "core", "tag", "version", "numpy"),
    [
        ("numpy-1.24.2.egg-info", "core", "311", "3.11", "1.24.2"),
        ("numpy-2.2.4.dist-info", "_core", "313", "3.13", "2.2.4"),
        ("numpy-1.13.3.egg-info", "core", "36m", "3.6", "1.13.3"),
        ("numpy-1.19.5-py3.6.egg-info", "core", "36m", "3.6", "1.19.5"),
        ("numpy-1.26.4.dist-info", "core", "310", "3.1", None),
        ("numpy-1.26.4.dist-info", "core", "310", "3.11", None),
    ],
)
def test_numpy_is_found_without_importing_it(tmp_path, info, core, tag, version, numpy):
    make_python(tmp_path / "bin", f"python{version}")
    (tmp_path / "bin/python3").symlink_to(f"python{version}")
    make_numpy(tmp_path / f"lib/python{version}/dist-packages", info, core, tag)
    assert in_folder(tmp_path / "bin") == {"python3": (version, numpy)}


def test_numpy_left_as_a_name_alone_is_not_reported(tmp_path):
    make_python(tmp_path / "bin", "python3.11")
    (tmp_path / "lib/python3.11/site-packages/numpy-1.0.dist-info").mkdir(parents=True)
    assert in_folder(tmp_path / "bin") == {"python3.11": ("3.11", None)}


@pytest.mark.parametrize(
    ("place", "version", "opencv"),
    [
        ("cv2/cv2.abi3.so", "3.11", True),
        ("cv2.cpython-311-aarch64-linux-gnu.so", "3.11", True),
        ("cv2/python-3.6/cv2.cpython-36m-aarch64-linux-gnu.so", "3.6", True),
        ("cv2.cpython-311-aarch64-linux-gnu.so", "3.12", False),
        ("cv2/python-3.6/cv2.cpython-36m-aarch64-linux-gnu.so", "3.8", False),
        ("cv2/__init__.py", "3.11", False),
    ],
)
def test_opencv_is_found_without_importing_it(tmp_path, place, version, opencv):
    make_python(tmp_path / "bin", f"python{version}")
    file = tmp_path / f"lib/python{version}/dist-packages" / place
    file.parent.mkdir(parents=True)
    file.touch()
    [found] = [
        python["opencv"]
        for python in find_pythons(str(tmp_path / "bin"))
        if python["executable"].startswith(str(tmp_path))
    ]
    assert found is opencv


def test_scripts_that_are_named_like_a_python_are_passed_over(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexec nothing\n")
    (tmp_path / "python3").chmod(0o755)
    make_python(tmp_path, "python3.12-config")
    assert in_folder(tmp_path) == {}


def test_several_pythons_are_listed_newest_first(tmp_path):
    for version in ("3.9", "3.13", "3.10"):
        make_python(tmp_path, f"python{version}")
    assert list(in_folder(tmp_path)) == ["python3.13", "python3.10", "python3.9"]


def test_virtual_environment_has_its_own_numpy(tmp_path):
    make_python(tmp_path / "system/bin", "python3.11")
    make_numpy(
        tmp_path / "system/lib/python3.11/site-packages", "numpy-1.0.dist-info", "core", "311"
    )
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python3").symlink_to(tmp_path / "system/bin/python3.11")
    (venv / "pyvenv.cfg").write_text("home = x\ninclude-system-site-packages = false\n")
    assert in_folder(venv / "bin") == {"python3": ("3.11", None)}
    (venv / "pyvenv.cfg").write_text("home = x\ninclude-system-site-packages = true\n")
    assert in_folder(venv / "bin") == {"python3": ("3.11", "1.0")}
