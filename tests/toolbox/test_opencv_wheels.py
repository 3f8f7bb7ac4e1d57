"""OpenCV for boards: there is a wheel for each, and it goes with the NumPy that engines bring."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.wheels import unpack
from edgekit.app.camera_opencv import PACKAGE, opencv_lock
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.wheels import resolve

USE = """
import cv2, numpy
picture = numpy.full((48, 64, 3), 200, numpy.uint8)
good, jpeg = cv2.imencode(".jpg", picture)
print(good, cv2.imdecode(jpeg, 1).shape, cv2.__version__)
"""


def runtime(device, requirements, package):
    return resolve(RuntimeSpec(device.pythons[0], requirements, (package,)), device, emit=ignore)


@pytest.mark.network
@pytest.mark.parametrize(
    ("machine", "python", "glibc"),
    [
        ("aarch64", "3.6.9", "2.27"),  # Jetson Nano
        ("aarch64", "3.8.10", "2.31"),
        ("aarch64", "3.11.2", "2.36"),
        ("aarch64", "3.13.5", "2.41"),
        ("x86_64", "3.10.12", "2.35"),
    ],
)
def test_boards_have_a_wheel_without_numpy(facts, machine, python, glibc):
    pack = runtime(facts(machine, python, glibc), opencv_lock(), PACKAGE)
    [wheel] = pack.wheels
    assert wheel.path.startswith("opencv_python_headless-")
    assert machine in wheel.path


@pytest.mark.network
def test_boards_without_a_wheel_are_refused(facts):
    with pytest.raises(ToolboxError, match="no wheel of opencv-python-headless"):
        runtime(facts("armv7l"), opencv_lock(), PACKAGE)


@pytest.mark.network
@pytest.mark.skipif(platform.machine() != "x86_64", reason="its interpreters are this machine's")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "version"),
    # NumPy 1.19, 2.0, 2.4, 2.5; and 1.26, where an engine wants one before 2.
    [
        ("onnxruntime", "3.6"),
        ("onnxruntime", "3.9"),
        ("onnxruntime", "3.11"),
        ("onnxruntime", "3.13"),
        ("paddlelite", "3.10"),
    ],
)
def test_opencv_loads_beside_the_numpy_of_an_engine(facts, tmp_path, version, engine):
    python = _interpreter(version)
    device = facts("x86_64", version, platform.libc_ver()[1])
    numpys = load_engine(engine).build_script.with_name("board.txt")
    packs = [runtime(device, numpys, "numpy"), runtime(device, opencv_lock(), PACKAGE)]
    folders = []
    for number, pack in enumerate(packs):
        folders.append(str(tmp_path / str(number)))
        for _size_bytes in unpack(str(pack.wheels[0].source), folders[-1]):
            pass
    done = subprocess.run(
        [python, "-B", "-s", "-c", USE],
        env={"PYTHONPATH": os.pathsep.join(folders), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("True (48, 64, 3) "), done.stderr


def _interpreter(version: str) -> str:
    if sys.version.startswith(f"{version}."):
        return str(Path(sys.executable).resolve())
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
    if not found:
        pytest.skip(f"no Python {version} here")
    return str(found[-1])
