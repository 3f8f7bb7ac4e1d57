"""Recipes of root file systems, the command that makes them, and its progress."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.board.privilege import Privilege
from edgekit.board.rootfs import (
    InstallProgress,
    build_rootfs,
    mmdebstrap_command,
    recipe_for,
    remove_as_root,
    rootfs_path,
)
from edgekit.core.errors import DeviceError, DiskFullError, UsageError
from edgekit.core.events import StepFinished, StepProgress, StepStarted, ignore

# What mmdebstrap --verbose was seen to print, with most packages left out.
OUTPUT = """\
I: arm64 cannot be executed natively, but transparently using qemu-user binfmt emulation
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
I: installing essential packages...
Unpacking gcc-12-base:arm64 (12.2.0-14+deb12u1) ...
Setting up gcc-12-base:arm64 (12.2.0-14+deb12u1) ...
Setting up libaudit-common (1:3.0.9-1) ...
I: installing remaining packages inside the chroot...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Setting up python3 (3.11.2-1+b1) ...
I: success in 125.1192 seconds
"""


def test_recipe_name_tells_content():
    recipe = recipe_for("aarch64")
    assert recipe.name.startswith("rootfs-arm64-")
    assert recipe_for("aarch64").name == recipe.name
    assert replace(recipe, packages=(*recipe.packages, "nano")).name != recipe.name


def test_only_32_bit_boards_carry_debians_numpy():
    assert "python3-numpy" in recipe_for("armv7l").packages
    assert "python3-numpy" not in recipe_for("aarch64").packages


def test_recipe_for_this_machine_is_refused():
    with pytest.raises(UsageError, match="x86_64") as raised:
        recipe_for("x86_64")
    assert "--target local" in raised.value.hint


def test_command_takes_proxy_and_archive_as_given():
    line = "deb http://mirror.example/debian bookworm main"
    command = mmdebstrap_command(
        recipe_for("armv7l"), Path("/x"), line, "http://proxy.example:3128"
    )
    assert command[-3:] == ["bookworm", "/x", line]
    assert "--architectures=armhf" in command
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3128"' in command
    plain = mmdebstrap_command(recipe_for("armv7l"), Path("/x"), line, None)
    assert not any("Proxy" in word for word in plain)


def test_command_begins_from_the_base_where_there_is_one(own_cache):
    base = recipe_for("aarch64")
    more = replace(base, base=base, packages=("rauc", "udev"), hooks=())
    assert len({base.name, more.name, replace(more, base=replace(base, suite="sid")).name}) == 3
    command = mmdebstrap_command(more, Path("/x"), "deb m bookworm main", None)
    assert "--variant=custom" in command
    [begin] = [word for word in command if word.startswith("--setup-hook=")]
    assert f"{rootfs_path(base)}/." in begin
    [install] = [word for word in command if word.startswith("--customize-hook=")]
    assert install.endswith(" install rauc udev")


def test_progress_of_one_round_knows_the_total_from_its_beginning():
    events = []
    progress = InstallProgress("s", events.append, rounds=1)
    progress.read("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.\n")
    progress.read("Setting up rauc (1.8-2+deb12u1) ...\n")
    assert events == [StepProgress("s", 1, 2, "packages")]


def test_progress_counts_packages_and_knows_the_total_in_the_second_round():
    events = []
    progress = InstallProgress("s", events.append)
    for line in OUTPUT.splitlines(keepends=True):
        progress.read(line)
    assert events == [
        StepProgress("s", 1, None, "packages"),
        StepProgress("s", 2, None, "packages"),
        StepProgress("s", 3, 3, "packages"),
    ]


@pytest.fixture
def fake_mmdebstrap(own_cache, tmp_path, monkeypatch):
    """Put a script of this test's in place of mmdebstrap: the real one is in the board tests."""
    if os.geteuid() != 0:
        pytest.skip("making a root file system needs root: it has a mount namespace of its own")

    def put(script):
        program = tmp_path / "bin" / "mmdebstrap"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr("edgekit.board.rootfs.SYSTEM_PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return put


def _build(events=None):
    emit = ignore if events is None else events.append
    recipe = recipe_for("aarch64")
    return build_rootfs(recipe, Privilege(), mirror="http://mirror.example/debian", emit=emit)


def test_rootfs_that_fails_leaves_the_log_and_nothing_else(fake_mmdebstrap, own_cache):
    fake_mmdebstrap(
        'for w; do case $w in */.building-*) mkdir "$w"; : >"$w/half";; esac; done\n'
        "echo 'E: no such archive' >&2; exit 25"
    )
    events = []
    with pytest.raises(DeviceError, match="no such archive") as raised:
        _build(events)
    name = recipe_for("aarch64").name
    left = sorted(p.name for p in (own_cache / "boards").iterdir())
    assert left == [".in-use", ".locks", f"{name}.log"]
    assert f"{name}.log" in raised.value.hint
    assert isinstance(events[0], StepStarted)
    assert events[-1] == StepFinished("board:rootfs:arm64", "failed", ok=False)


def test_rootfs_is_made_once_and_only_whole(fake_mmdebstrap, own_cache):
    fake_mmdebstrap('for w; do case $w in */.building-*) mkdir "$w"; echo >>"$w/made";; esac; done')
    path = _build()
    assert path == rootfs_path(recipe_for("aarch64"))
    assert _build() == path
    assert (path / "made").read_text() == "\n"


def test_base_is_made_first_and_once(fake_mmdebstrap, own_cache):
    fake_mmdebstrap('for w; do case $w in */.building-*) mkdir "$w"; echo >>"$w/made";; esac; done')
    base = recipe_for("aarch64")
    more = replace(base, base=base, packages=("rauc",))
    for _ in range(2):
        assert build_rootfs(more, Privilege(), mirror="http://m.example", emit=ignore).is_dir()
    for recipe in (base, more):
        assert (rootfs_path(recipe) / "made").read_text() == "\n"


def test_rootfs_that_is_interrupted_leaves_nothing_behind(fake_mmdebstrap, own_cache):
    """The stand-in's own child must end as well: it would go on writing into the folder."""
    nap = f"9{os.getpid()}.5"
    fake_mmdebstrap(
        'for w; do case $w in */.building-*) mkdir "$w";; esac; done\n'
        f"setsid sleep {nap} & echo 'Setting up first (1) ...'; wait"
    )

    def interrupt(event):
        if isinstance(event, StepProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_rootfs(recipe_for("aarch64"), Privilege(), mirror="http://x.example", emit=interrupt)
    assert not list((own_cache / "boards").glob(".building-*"))
    assert nap not in subprocess.check_output(["ps", "-eo", "args"], text=True)


def test_removal_unmounts_first_and_spares_what_was_mounted(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    precious, doomed = tmp_path / "precious", tmp_path / "doomed of mine"
    for folder in (precious, doomed / "a", doomed / "b"):
        folder.mkdir(parents=True)
    (precious / "file").touch()
    for name in ("a", "b"):
        subprocess.run(["mount", "--bind", precious, doomed / name], check=True)
    remove_as_root(doomed, Privilege())
    assert not doomed.exists()
    assert (precious / "file").exists()
    assert "doomed" not in Path("/proc/mounts").read_text()


def test_rootfs_without_room_is_refused(own_cache, monkeypatch):
    monkeypatch.setattr("edgekit.board.rootfs._ROOM_BYTES", 1 << 62)
    with pytest.raises(DiskFullError, match="MiB free"):
        _build()
