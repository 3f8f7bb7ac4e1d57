"""Requirement locks pin every package by hash and name no place to download from."""

import re

import pytest

PIN = re.compile(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^\s;\\]+( ; .+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@pytest.fixture(scope="session")
def locks(tracked, root):
    found = [
        file
        for file in tracked
        if file.suffix == ".txt"
        and {"requirements", "engines", "recipes", "toolbox"} & set(file.relative_to(root).parts)
        and "==" in file.read_text(encoding="utf-8")
    ]
    assert root / "requirements" / "dev.txt" in found
    assert root / "edgekit" / "toolbox" / "zig.txt" in found
    return found


def entries(text):
    """Split a lock into its requirements, each a list of a pin and its hashes."""
    joined = re.sub(r"\\\n\s*", "\n\t", text)
    for entry in re.split(r"\n(?!\t)", joined):
        lines = [line.strip() for line in entry.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if lines:
            yield lines


def test_every_requirement_is_pinned_with_hashes(locks, root):
    for lock in locks:
        for pin, *hashes in entries(lock.read_text(encoding="utf-8")):
            where = f"{lock.relative_to(root)}: {pin}"
            assert PIN.fullmatch(pin), f"{where}: no exact pin"
            assert hashes, f"{where}: no hash"
            assert all(map(HASH.fullmatch, hashes)), f"{where}: {hashes}"


def test_no_lock_names_a_place_to_download_from(locks, root):
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        for word in ("://", "--index-url", "--extra-index-url", "--find-links", " @ ", "file:"):
            assert word not in text, f"{lock.relative_to(root)} holds {word!r}"


def test_pyproject_dependencies_are_in_the_lock(root):
    import tomllib

    def plain(name):
        return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        plain(name)
        for name in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])
    }
    lock = (root / "requirements" / "dev.txt").read_text(encoding="utf-8")
    locked = {plain(pin) for pin, *_ in entries(lock)}
    assert not wanted - locked, "run make lock"
