"""The runner's zip."""

import subprocess
import sys
import zipfile

from edgekit.engines import load_engine
from edgekit.toolbox.runner_pack import pack_runner


def test_two_packs_are_byte_identical(tmp_path, monkeypatch):
    packs = []
    for name in ("one", "two"):
        monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / name))
        packs.append(pack_runner(load_engine("ncnn")))
    first, second = packs
    assert first.source != second.source
    assert first.source.read_bytes() == second.source.read_bytes()
    assert first.sha256 == second.sha256


def test_pack_holds_what_the_board_needs_and_nothing_of_the_host():
    with zipfile.ZipFile(pack_runner(load_engine("ncnn")).source) as archive:
        names = set(archive.namelist())
        assert archive.read("edgekit/__init__.py") == b""
        assert archive.read("edgekit/engines/ncnn/__init__.py") == b""
    assert {"__main__.py", "edgekit/onboard/harness.py", "edgekit/engines/ncnn/runner.py"} <= names
    assert not [name for name in names if name.startswith("edgekit/core") or "build.py" in name]
    assert not [name for name in names if "onnxruntime" in name]


def test_pack_runs_with_plain_python():
    pack = pack_runner(load_engine("onnxruntime"))
    done = subprocess.run(
        [sys.executable, "-B", str(pack.source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
