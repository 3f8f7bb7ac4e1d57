"""What is installed from a wheel must be whole: targets, recipes, models, locks, the agent."""

import os
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """Unpack a freshly built wheel, as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(installed, tmp_path, *arguments):
    """Run edgekit from the wheel alone, away from the checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "XDG_CONFIG_HOME": str(tmp_path),
        "EDGEKIT_DEVICE_ROOT": str(tmp_path / "device"),
    }
    return subprocess.run(
        [sys.executable, "-c", "from edgekit.__main__ import main; main()", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("targets",), "rk3566"),
        (("recipes",), "yolov5"),
        (("recipes", "shapes"), "edgekit/data/recipes/shapes/shapes.onnx"),
        (("status", "--device", "local"), "nothing is active"),
    ],
)
def test_wheel_alone_serves_the_commands(installed, tmp_path, arguments, shown):
    done = run_installed(installed, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_wheel_holds_every_engines_locks(installed, root):
    for lock in root.glob("edgekit/engines/*/*.txt"):
        assert (installed / lock.relative_to(root)).read_bytes() == lock.read_bytes()


def test_wheel_holds_what_is_written_in_c_and_its_compilers_lock(installed, root):
    sources = [*root.glob("edgekit/onboard/native/*.[ch]"), *root.glob("edgekit/toolbox/*.txt")]
    sources.append(root / "device_agent/power/sampler.c")
    assert {file.suffix for file in sources} == {".c", ".h", ".txt"}
    for file in sources:
        assert (installed / file.relative_to(root)).read_bytes() == file.read_bytes()


def test_wheel_holds_the_live_page(installed, root):
    files = [file for file in root.glob("edgekit/camera/page/*.*") if file.suffix != ".py"]
    assert {file.suffix for file in files} == {".html", ".js", ".css"}
    for file in files:
        assert (installed / file.relative_to(root)).read_bytes() == file.read_bytes()


def test_wheel_holds_what_virtual_boards_are_started_and_counted_with(installed, root):
    for name in ("start_board.sh", "count_instructions.sh", "plugin/instructions.c"):
        file = root / "edgekit" / "board" / name
        assert (installed / file.relative_to(root)).read_bytes() == file.read_bytes()


def test_wheel_holds_what_is_compiled_for_boards(installed, root):
    sources = [file for file in root.glob("cross/**/*") if file.is_file()]
    assert any(file.name == "session.c" for file in sources)
    for file in sources:
        packed = installed / "edgekit" / "data" / file.relative_to(root)
        assert packed.read_bytes() == file.read_bytes()
