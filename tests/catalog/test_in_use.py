import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.catalog import in_use
from edgekit.catalog.cache import ContentStore, FileLock, KeyedCache
from edgekit.catalog.in_use import alone, hold, is_held, is_locked, let_go, used_by_processes

_PATIENCE_S = 30


def other_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program that says a line when it is where the test wants it, and then waits."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{code}\nprint('there', flush=True)\ninput()",
            *map(str, arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def built(root: Path, key: str = "k") -> Path:
    return KeyedCache(root).build(key, lambda folder: (folder / "file").write_text("x"))


def test_a_store_is_held_until_the_process_that_used_it_is_dead(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    built(tmp_path)
    let_go()
    assert not is_held(tmp_path)
    code = """
import sys
from pathlib import Path
from edgekit.catalog.cache import KeyedCache
assert KeyedCache(Path(sys.argv[1])).get("k")
"""
    with other_process(code, tmp_path) as process:
        assert is_held(tmp_path)
        with alone(tmp_path) as nobody:
            assert not nobody
        process.send_signal(signal.SIGKILL)
    with alone(tmp_path) as nobody:
        assert nobody


@pytest.mark.parametrize("way", ["get", "build", "path_of", "verified"])
def test_who_asks_for_a_path_holds_its_store(way, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    store = tmp_path / "content"
    held = ContentStore(store).add_bytes(b"content")
    built(store)
    let_go()
    assert not is_held(store)
    if way in {"get", "build"}:
        assert KeyedCache(store).get("k") if way == "get" else built(store)
    else:
        assert getattr(ContentStore(store), way)(held.sha256)
    assert is_held(store)


def test_who_begins_to_use_a_store_waits_while_another_is_alone_with_it(tmp_path):
    path = built(tmp_path)
    let_go()
    told: list[Path | None] = []
    with alone(tmp_path) as nobody:
        assert nobody
        reader = threading.Thread(target=lambda: told.append(KeyedCache(tmp_path).get("k")))
        reader.start()
        time.sleep(0.2)
        assert not told
        path.rename(tmp_path / "elsewhere")
    reader.join(_PATIENCE_S)
    assert told == [None]


def test_asking_makes_nothing_where_there_is_nothing(tmp_path):
    assert KeyedCache(tmp_path / "none").get("k") is None
    assert not ContentStore(tmp_path / "none").has("0" * 64)
    assert not is_held(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_each_use_of_a_folder_is_noted(tmp_path):
    path = built(tmp_path)
    for use in (lambda: KeyedCache(tmp_path).get("k"), lambda: built(tmp_path)):
        os.utime(path, (1, 1))
        assert use() == path
        assert time.time() - path.stat().st_mtime < _PATIENCE_S


def test_use_of_content_is_noted_and_the_content_need_not_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    store = ContentStore()
    held = store.add_bytes(b"content")
    before = held.path.stat()
    stamp = store.root / ".used" / held.sha256
    assert store.verified(held.sha256)
    os.utime(stamp, (1, 1))
    assert store.verified(held.sha256)
    assert time.time() - stamp.stat().st_mtime < _PATIENCE_S
    after = held.path.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_a_store_that_cannot_be_held_can_still_be_read(tmp_path):
    path = built(tmp_path)
    let_go()
    (tmp_path / ".in-use").unlink()
    (tmp_path / ".in-use").mkdir()  # as little to be opened as in another user's folder
    assert KeyedCache(tmp_path).get("k") == path
    with alone(tmp_path) as nobody:
        assert not nobody


def test_a_lock_is_seen_and_not_made(tmp_path):
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    assert not lock.exists()
    with FileLock(lock):
        assert is_locked(lock)
    assert not is_locked(lock)


_USES = {
    "started from there": "import sys",
    "stands in it": "import os, sys; os.chdir(sys.argv.pop())",
    "has a file open": "import sys; kept = open(sys.argv.pop() + '/file')",
    "has a file mapped": """
import mmap, sys
with open(sys.argv.pop() + '/file', 'rb') as file:
    kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
""",
}


@pytest.mark.parametrize("use", _USES)
def test_what_programs_use_is_seen(use, tmp_path):
    path, other = built(tmp_path / "a b"), built(tmp_path / "a b", "other")
    assert path not in used_by_processes(tmp_path)
    with other_process(_USES[use], path) as process:
        used = used_by_processes(tmp_path)
        assert path in used
        assert other not in used
        assert tmp_path not in used
        process.kill()
    assert path not in used_by_processes(tmp_path)


def test_mount_points_are_read_with_blanks_in_their_names(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text("36 35 98:0 / /mnt/a\\040b rw - ext4 /dev/x rw\n", encoding="ascii")
    monkeypatch.setattr(in_use, "_MOUNTS", table)
    assert in_use.mount_points() == (Path("/mnt/a b"),)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_holding_twice_takes_one_descriptor(tmp_path):
    before = descriptors()
    for _ in range(5):
        hold(tmp_path)
    assert descriptors() == before + 1
    let_go()
    assert descriptors() == before
