"""What tests of virtual boards share: whether there can be any, and their shell."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable

import pytest

from edgekit.board import user_mode
from edgekit.board.requirements import Requirement, requirements


def skip_without_boards(more: Iterable[Requirement] = ()) -> None:
    """Skip where this host can carry no virtual board, and say what it lacks.

    Args:
        more: what is needed besides what every board needs.
    """
    missing = [need for need in (*requirements(), *more) if not need.present]
    if missing:
        fixes = "; ".join(f"{need.name}: {need.install_command}" for need in missing)
        pytest.skip(f"a virtual board needs what is not here: {fixes}")
    if os.geteuid() != 0:
        pytest.skip("a virtual board needs root")


def carry(board, folder, name):
    """Copy a folder to a board's home under a name; return what runs commands there.

    It returns a command's standard output as bytes; one that fails is an ``AssertionError``.
    """

    def there(command, **options):
        done = subprocess.run(
            [*user_mode.ssh_command(board.name), command],
            capture_output=True, check=False, timeout=300, **options,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, name)
    there("tar x", input=packed.getvalue())
    return there
