"""The repository as a whole: its tracked files and the tools that check it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> tuple[Path, ...]:
    """Every file that git knows or would take up, that stands in the checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is no list of tracked files")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = (ROOT / name for name in listed.split("\0") if name)
    return tuple(file for file in files if file.is_file())


@pytest.fixture(scope="session")
def run_tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a development tool of this environment in the checkout."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        tool = Path(sys.executable).parent / name
        if not tool.exists():
            pytest.skip(f"{name} is not installed beside this Python")
        return subprocess.run(
            [str(tool), *arguments], cwd=ROOT, check=False, capture_output=True, text=True
        )

    return run
