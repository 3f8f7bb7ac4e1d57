"""Pythons that pyenv keeps are found behind its shims."""

import subprocess
import sys

import pytest
from uv import find_uv_bin

from edgekit.toolbox.interpreters import search_path


def test_search_path_passes_by_the_shims_of_pyenv(tmp_path, monkeypatch):
    root = tmp_path / "pyenv"
    for name in ("3.9.18", "3.10.13", "2.7.18"):
        (root / "versions" / name / "bin").mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(root))
    monkeypatch.setenv("PATH", f"{root}/shims:/somewhere")
    versions = [f"{root}/versions/{name}/bin" for name in ("3.10.13", "3.9.18")]
    assert search_path().split(":") == ["/somewhere", *versions]


def test_search_path_without_pyenv_is_that_of_the_shell(tmp_path, monkeypatch):
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/one:/two")
    assert search_path() == "/one:/two"


@pytest.mark.parametrize("python", ["3.99", ">=3.99"])
def test_uv_says_that_none_is_there_whatever_pyenv_keeps(python, monkeypatch):
    monkeypatch.setenv("PATH", search_path())
    command = [find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads"]
    done = subprocess.run(
        [*command, "--system", python], capture_output=True, check=False, text=True
    )
    assert "No interpreter found" in done.stderr


def test_uv_finds_a_version_whose_shim_fails(tmp_path, monkeypatch):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    root = tmp_path / "pyenv"
    shim = root / "shims" / f"python{version}"
    kept = root / "versions" / f"{version}.0" / "bin" / f"python{version}"
    for path in (shim, kept):
        path.parent.mkdir(parents=True)
    shim.write_text("#!/bin/sh\necho not selected >&2\nexit 127\n")
    shim.chmod(0o755)
    kept.symlink_to(sys.executable)
    monkeypatch.setenv("PYENV_ROOT", str(root))
    monkeypatch.setenv("PATH", str(shim.parent))
    command = [find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads"]
    command += ["--system", version]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    monkeypatch.setenv("PATH", search_path())
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    assert found.stdout.strip().startswith(str(root / "versions"))
