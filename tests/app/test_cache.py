import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from cache_makers import LOCK, MONTH_S, age, everything, made, prune, using
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.app import cache, cache_removal
from edgekit.app.cache import overview
from edgekit.app.cache_entries import KINDS, STORES
from edgekit.app.cache_removal import plan_removal, remove
from edgekit.catalog import in_use
from edgekit.catalog.cache import FileLock, KeyedCache, remove_tree
from edgekit.catalog.in_use import let_go

_TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder))
    folder.mkdir()
    return folder


def test_what_was_not_used_for_long_goes_and_the_rest_stays():
    old, new = made("builds", "old", days=31), made("builds", "new", days=29)
    used = made("builds", "used", days=400)
    assert KeyedCache(used.parent).get("used")
    let_go()
    assert prune() == ({old}, {})
    assert (old.exists(), new.exists(), used.exists()) == (False, True, True)
    assert not list(old.parent.glob(".doomed-*"))
    assert KeyedCache(old.parent).get("old") is None


def test_only_the_kinds_that_were_named_go():
    build, toolbox = made("builds", days=31), made("toolboxes", days=31)
    assert prune(kinds=("toolboxes",)) == ({toolbox}, {})
    assert build.exists()


def test_what_is_not_edgekits_stays(root, tmp_path):
    store = made("builds", days=31).parent
    elsewhere = age(made("models", days=31).rename(tmp_path / "elsewhere"), 99)
    link = store / ("a" * 64)
    link.symlink_to(elsewhere)
    for foreign in (store / "notes", root / "mine", root / "host-device" / "store"):
        foreign.mkdir(parents=True)
        age(foreign, 400)
    (store / "readme.txt").write_text("mine")
    kept = [store / "notes", root / "mine", root / "host-device" / "store", store / "readme.txt"]
    prune(0.0)
    assert all(path.exists() for path in (*kept, link, elsewhere / "file"))


def test_what_came_from_the_future_stays():
    path = made("builds", days=-2)
    assert prune(0.0) == (set(), {})
    assert path.exists()


STATES = ["used", "old", "half made", "half removed", "locked", "foreign"]


@settings(max_examples=25, deadline=None)
@given(
    things=st.lists(
        st.tuples(st.sampled_from(sorted(STORES)), st.sampled_from(STATES)), max_size=12
    ),
    kinds=st.sets(st.sampled_from(sorted(KINDS)), min_size=1),
)
def test_what_is_planned_is_what_goes(things, kinds):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name)
        patch.setenv("EDGEKIT_CACHE_DIR", name)
        locks, expected = [], set()
        for number, (store, state) in enumerate(things):
            path = made(store, str(number), days=0 if state == "used" else 40)
            if state == "half made":
                path = path.rename(path.parent / ".building" / path.name)
            elif state == "half removed":
                path = path.rename(path.parent / f".doomed-1-{path.name}")
            elif state == "foreign":
                path = path.rename(path.parent / f"x{path.name}")
            elif state == "locked":
                locks.append(FileLock(path.parent / ".locks" / path.name))
                locks[-1].acquire()
            if state in {"old", "half made", "half removed"} and STORES[store][0] in kinds:
                expected.add(path)
        before = everything(root)
        planned = plan_removal(MONTH_S, tuple(kinds))
        assert {entry.path for entry, _ in planned.entries} == expected
        assert everything(root) == before
        removed = remove(planned, MONTH_S, tuple(kinds))
        assert [entry for entry, _ in removed.entries] == [entry for entry, _ in planned.entries]
        assert removed.freed_bytes == planned.freed_bytes
        gone = {path for path in before if any(path.is_relative_to(each) for each in expected)}
        assert everything(root) == before - gone
        for lock in locks:
            lock.release()


def test_bytes_that_another_name_keeps_are_not_said_to_be_freed(tmp_path):
    path = made("builds", days=31, files=("kept", "shared", "alone"), size=40_000)
    os.link(path / "kept", tmp_path / "elsewhere")
    os.link(path / "shared", path / "shared too")
    age(path, 31)
    planned = plan_removal(MONTH_S)
    ((_, taken),) = planned.entries
    assert 120_000 <= taken <= 140_000
    assert 80_000 <= planned.freed_bytes <= 100_000
    assert prune()[0] == {path}
    assert (tmp_path / "elsewhere").stat().st_size == 40_000


HOLD = "from edgekit.catalog.cache import KeyedCache; KeyedCache(Path(sys.argv[1])).get('used')"


def test_a_store_that_a_running_edgekit_uses_stays_until_that_is_dead():
    old, other = made("builds", "old", days=31), made("models", "old", days=31)
    made("builds", "used", days=31)
    with using(HOLD, old.parent) as process:
        gone, stays = prune()
        assert gone == {other}
        assert stays == {old: "an edgekit that runs now uses such"}
        assert next(each for each in overview().shares if each.kind == "builds").used_now
        process.kill()
        process.wait()
        assert prune() == ({old}, {})


def test_what_was_begun_to_be_used_after_the_plan_stays():
    old, used = made("builds", "old", days=31), made("builds", "used", days=31)
    planned = plan_removal(MONTH_S)
    assert len(planned.entries) == 2
    with using(HOLD, old.parent):
        removed = remove(planned, MONTH_S)
        assert not removed.entries
        assert {entry.path for entry in removed.needed} == {old}
    assert {entry.path for entry, _ in remove(planned, MONTH_S).entries} == {old}
    assert used.exists()


def after_survey(number, act, monkeypatch):
    """Let something happen right after a prune has looked for the n-th time."""
    calls = []

    def survey(*arguments):
        found = cache.survey(*arguments)
        calls.append(found)
        if len(calls) == number:
            act()
        return found

    monkeypatch.setattr(cache_removal, "survey", survey)


def test_who_begins_between_a_look_and_the_taking_keeps_what_it_got(monkeypatch):
    old = made("builds", "old", days=31)
    made("builds", "used", days=31)
    planned = plan_removal(MONTH_S)
    with ExitStack() as stack:
        after_survey(1, lambda: stack.enter_context(using(HOLD, old.parent)), monkeypatch)
        removed = remove(planned, MONTH_S)
    assert not removed.entries
    assert {each.needed for each in removed.needed} == {"an edgekit that runs now uses such"}
    assert old.exists()


@pytest.mark.parametrize("number", [1, 2])
def test_who_locks_between_a_look_and_the_taking_keeps_it(number, monkeypatch):
    old = made("builds", days=31)
    planned = plan_removal(MONTH_S)
    lock = FileLock(old.parent / ".locks" / old.name)
    after_survey(number, lock.acquire, monkeypatch)
    removed = remove(planned, MONTH_S)
    lock.release()
    assert not removed.entries
    assert {each.needed for each in removed.needed} == {"it is being made or used"}
    assert old.exists()


def test_nothing_goes_of_a_store_that_was_not_taken(monkeypatch):
    old = made("builds", days=31)
    planned = plan_removal(MONTH_S)
    lock = FileLock(old.parent / ".locks" / old.name)
    lock.acquire()
    after_survey(1, lock.release, monkeypatch)
    assert not remove(planned, MONTH_S).entries
    assert old.exists()


@pytest.mark.parametrize("half_made", [True, False])
def test_what_another_process_has_locked_stays(half_made):
    path = made("builds", days=31)
    lock = path.parent / ".locks" / path.name
    if half_made:
        path = path.rename(path.parent / ".building" / path.name)
    with using(LOCK, lock):
        assert prune() == (set(), {path: "it is being made or used"})
    assert prune() == ({path}, {})


def test_a_toolbox_whose_python_runs_stays():
    path = made("toolboxes", days=31)
    with using("import os; os.chdir(sys.argv[1])", path):
        assert prune() == (set(), {path: "a program that runs uses it"})
    assert prune()[0] == {path}


def test_what_something_is_mounted_in_stays(tmp_path, monkeypatch):
    path = made("builds", days=31)
    (tmp_path / "mounts").write_text(f"36 35 98:0 / {path}/files rw - ext4 /dev/x rw\n")
    monkeypatch.setattr(in_use, "_MOUNTS", tmp_path / "mounts")
    assert prune() == (set(), {path: "something is mounted in it"})
    assert (path / "file").exists()


KILLED = """
import os, signal
from edgekit.app import cache, cache_removal
from edgekit.catalog.cache import remove_tree
def cut(folder):
    if cut.left:
        cut.left -= 1
        return remove_tree(folder)
    next(folder.rglob('*')).unlink()
    os.kill(os.getpid(), signal.SIGKILL)
cut.left = 2
cache_removal.remove_tree = cut
cache_removal.remove(cache_removal.plan_removal(0.0), 0.0)
"""


def test_a_prune_that_is_killed_leaves_nothing_half_and_the_next_one_goes_on(root):
    keys = [str(number) for number in range(6)]
    paths = [made("builds", key, days=31, files=("a", "b")) for key in keys]
    done = subprocess.run(
        [sys.executable, "-c", KILLED], check=False, timeout=_TIMEOUT_S, capture_output=True
    )
    assert done.returncode == -9
    left = list((root / "builds").glob(".doomed-*"))
    assert len(left) == 4
    assert not any(path.exists() for path in paths)
    # Whoever wants one of them has it made anew.
    again = made("builds", keys[0], files=("a", "b"))
    assert prune() == (set(left), {})
    assert sorted(path.name for path in again.iterdir()) == ["a", "b"]
    assert everything(root) == {root / "builds", again, again / "a", again / "b",
                                root / "builds" / ".building"}  # fmt: skip


def test_an_error_in_the_middle_is_told_and_the_rest_goes(monkeypatch):
    made("builds", "1", days=31)
    made("builds", "2", days=31)
    notes = []
    failed = []

    def fails_once(folder):
        if not failed:
            failed.append(folder)
            raise PermissionError(13, "Permission denied", str(folder))
        remove_tree(folder)

    monkeypatch.setattr(cache_removal, "remove_tree", fails_once)
    remove(plan_removal(MONTH_S), MONTH_S, emit=lambda event: notes.append(str(event)))
    assert failed[0].exists()
    assert any("cannot be removed whole" in note for note in notes)
    assert prune()[0] == {failed[0]}


def test_two_prunes_at_once_remove_each_thing_once(root):
    paths = {made("builds", str(number), days=31) for number in range(30)}
    command = [sys.executable, "-m", "edgekit", "cache", "prune", "--yes", "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = []
    for process in both:
        said, _ = process.communicate(timeout=_TIMEOUT_S)
        assert process.returncode == 0
        told += [each["path"] for each in json.loads(said.splitlines()[-1])["removed"]]
    assert sorted(told) == sorted(map(str, paths))
    assert everything(root) == {root / "builds", root / "builds" / ".building"}


BUILD = """
import os, time
from edgekit.catalog.cache import KeyedCache
def fill(folder):
    for name in 'abcdef':
        (folder / name).write_text(name)
cache, checked = KeyedCache(Path(sys.argv[1])), 0
for key in sys.argv[2:]:
    path = cache.get(key) or cache.build(key, fill)
    os.utime(path, (1, 1))  # at once as old as can be
    assert sorted(os.listdir(path)) == list('abcdef'), key
for key in sys.argv[2:]:
    assert sorted(os.listdir(cache.path_of(key))) == list('abcdef'), key
"""


def test_who_builds_while_a_prune_runs_never_misses_what_it_was_given(root):
    store = root / "builds"
    keys = [str(number) for number in range(20)]
    builders: list[subprocess.Popen[bytes]] = []
    gone = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        builders = [each for each in builders if each.poll() is None or _checked(each)]
        while len(builders) < 2:
            command = [sys.executable, "-c", f"import sys\nfrom pathlib import Path\n{BUILD}"]
            builders.append(subprocess.Popen([*command, store, *keys]))
        gone += len(prune(0.0)[0])
    for each in builders:
        each.wait(_TIMEOUT_S)
        _checked(each)
    gone += len(prune(0.0)[0])
    assert gone >= len(keys)
    assert not list(store.glob("[0-9a-f]*"))


def _checked(builder: "subprocess.Popen[bytes]") -> bool:
    assert builder.returncode == 0
    return False
