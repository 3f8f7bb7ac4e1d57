"""A virtual board's shell, for tests that put files there and run them without an agent."""

import io
import subprocess
import tarfile

from edgekit.board import user_mode


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
