import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from edgekit.catalog.cache import (
    ContentStore,
    FileLock,
    KeyedCache,
    cache_root,
    remove_tree,
    sha256_of,
    write_atomically,
)
from edgekit.core.events import Note

LONG_AGO = 1_600_000_000


def aged(path):
    """Make a file's clock old enough that its stat can be trusted."""
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def cache(tmp_path):
    return KeyedCache(tmp_path / "cache")


def python(code, *arguments):
    """Start a real process beside this one."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_cache_root_follows_xdg_and_the_setting(home, monkeypatch, tmp_path):
    assert cache_root() == home / ".cache" / "edgekit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "edgekit"
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_store_holds_a_file_by_its_content(store, tmp_path):
    source = tmp_path / "a.bin"
    source.write_bytes(b"x" * 3_000_000)
    held = store.add_file(source)
    assert held.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert held.size_bytes == 3_000_000
    assert held.path == store.path_of(held.sha256) == store.verified(held.sha256)
    assert held.path.read_bytes() == source.read_bytes()
    assert held.path.stat().st_mode & 0o777 == 0o444
    assert store.add_file(source) == held
    assert list(store.root.glob("??/*")) == [held.path]


def test_store_refuses_content_other_than_expected(store, tmp_path):
    source = tmp_path / "a.bin"
    source.write_bytes(b"evil")
    with pytest.raises(ValueError, match="expected 0000"):
        store.add_file(source, expected="0" * 64)
    assert not [p for p in store.root.rglob("*") if p.is_file() and p.name != ".in-use"]


def test_store_throws_damaged_content_away(store):
    held = store.add_bytes(b"precious")
    held.path.chmod(0o644)
    held.path.write_bytes(b"preciouz")
    assert store.verified(held.sha256) is None
    assert not store.has(held.sha256)
    assert store.add_bytes(b"precious") == held
    assert store.verified(held.sha256) == held.path


def test_store_knows_nothing_of_absent_content(store):
    assert store.verified("0" * 64) is None
    assert not store.has("0" * 64)


def test_sha256_of_reads_an_unchanged_file_once(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    monkeypatch.setattr("edgekit.catalog.cache._RACY_NS", -10_000_000_000)  # any stat is settled
    first = sha256_of(file)

    def refuse(_path):
        raise AssertionError("read again")

    monkeypatch.setattr("edgekit.catalog.cache._hash", refuse)
    assert sha256_of(file) == first == hashlib.sha256(b"one").hexdigest()


def test_sha256_of_sees_every_change(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    monkeypatch.setattr("edgekit.catalog.cache._RACY_NS", -10_000_000_000)
    sha256_of(aged(file))
    # Same size, same mtime: ctime tells.
    file.write_bytes(b"two")
    assert sha256_of(aged(file)) == hashlib.sha256(b"two").hexdigest()
    other = tmp_path / "b"
    other.write_bytes(b"six")
    aged(other).replace(file)
    assert sha256_of(file) == hashlib.sha256(b"six").hexdigest()


def test_sha256_of_does_not_trust_a_fresh_stat(tmp_path):
    """A file may change twice within one tick of its clock."""
    file = tmp_path / "a"
    file.write_bytes(b"one")
    sha256_of(file)
    assert not (cache_root() / "stat-memo").exists()


def test_sha256_of_survives_a_damaged_memo(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    monkeypatch.setattr("edgekit.catalog.cache._RACY_NS", -10_000_000_000)
    first = sha256_of(file)
    (memo,) = (cache_root() / "stat-memo").iterdir()
    for damage in (b"", b"\xff\xfe", memo.read_bytes()[:-9]):
        memo.write_bytes(damage)
        assert sha256_of(file) == first


def test_write_atomically_leaves_the_former_content_on_failure(tmp_path, monkeypatch):
    file = tmp_path / "a"
    write_atomically(file, b"former")

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"former"
    assert list(tmp_path.glob(".a*")) == []


def test_keyed_cache_builds_once(cache):
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "x").write_text("made")

    assert cache.get("key") is None
    path = cache.build("key", fill)
    assert cache.build("key", fill) == path == cache.get("key")
    assert (path / "x").read_text() == "made"
    assert len(calls) == 1
    assert cache.build("other key", fill) != path


def test_keyed_cache_keeps_nothing_of_a_failed_build(cache):
    def fail(folder):
        (folder / "half").write_text("half")
        folder.chmod(0o500)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build("key", fail)
    assert cache.get("key") is None
    assert list((cache.root / ".building").iterdir()) == []
    assert cache.build("key", lambda folder: (folder / "x").touch()).is_dir()


def test_keyed_cache_discard_forgets(cache):
    cache.build("key", lambda folder: (folder / "x").touch())
    cache.discard("key")
    cache.discard("key")
    assert cache.get("key") is None


BUILDER = """
    import os, sys, time
    from pathlib import Path
    from edgekit.catalog.cache import KeyedCache

    root, log = Path(sys.argv[1]), Path(sys.argv[2])

    def fill(folder):
        with log.open("a") as stream:
            stream.write(f"{os.getpid()}\\n")
        (folder / "first").write_text("1")
        print("building", flush=True)
        time.sleep(float(sys.argv[3]))
        (folder / "second").write_text("2")

    path = KeyedCache(root).build("key", fill)
    assert sorted(p.name for p in path.iterdir()) == ["first", "second"]
"""


def test_keyed_cache_two_processes_one_builds_the_other_waits(cache, tmp_path):
    log = tmp_path / "builders"
    processes = [python(BUILDER, cache.root, log, 0.3) for _ in range(4)]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert len(log.read_text().splitlines()) == 1


def test_keyed_cache_killed_builder_leaves_no_half_entry(cache, tmp_path):
    log = tmp_path / "builders"
    victim = python(BUILDER, cache.root, log, 600)
    assert victim.stdout.readline() == "building\n"
    heir = python(BUILDER, cache.root, log, 0)
    time.sleep(0.2)
    assert cache.get("key") is None
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    heir.communicate(timeout=60)
    assert heir.returncode == 0
    assert sorted(p.name for p in cache.get("key").iterdir()) == ["first", "second"]
    assert log.read_text().splitlines() == [str(victim.pid), str(heir.pid)]
    assert list((cache.root / ".building").iterdir()) == []


def test_file_lock_excludes_threads_and_tells_who_waits(tmp_path):
    events = []
    order = []
    first = FileLock(tmp_path / "x.lock")
    assert first.acquire()

    def wait():
        with FileLock(tmp_path / "x.lock", events.append, "the toolbox"):
            order.append("second")

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 30
    while not events and time.monotonic() < deadline:
        time.sleep(0.01)
    assert events == [Note("waiting: another edgekit is working on the toolbox")]
    assert not FileLock(tmp_path / "x.lock").acquire(blocking=False)
    order.append("first")
    first.release()
    thread.join(timeout=30)
    assert order == ["first", "second"]
    first.release()


def test_remove_tree_takes_read_only_folders_and_absent_ones(tmp_path):
    locked = tmp_path / "tree" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0o500)
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    remove_tree(tmp_path / "tree")
