import shutil
import subprocess

import pytest
from cache_makers import DAY_S, LOCK, MONTH_S, age, board, made, made_rootfs, prune, qcow2, using

from edgekit.app.cache_removal import plan_removal, remove
from edgekit.board import keys
from edgekit.board.instances import client_key
from edgekit.board.leftovers import current_parts, grounds, image_below
from edgekit.board.machine import make_disk
from edgekit.board.privilege import Privilege
from edgekit.board.rootfs import build_rootfs, recipe_for
from edgekit.catalog.cache import FileLock, cache_root
from edgekit.catalog.in_use import let_go
from edgekit.core.events import ignore

OTHER = "rootfs-arm64-0123456789abcdef"


@pytest.fixture(autouse=True)
def boards(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache" / "boards" / ".locks").mkdir(parents=True)
    return tmp_path / "cache" / "boards"


def state(key, image, *, days):
    path = made("boards/states", key, files=("memory.zst",))
    qcow2(path / "disk.qcow2", image)
    return age(path, days)


def test_a_superseded_root_file_system_goes_with_its_log_after_a_day(boards):
    now = made_rootfs(recipe_for("aarch64").name, days=20)
    other = made_rootfs(OTHER, days=0.5)
    assert prune() == (set(), {})
    age(other.with_name(f"{OTHER}.log"), 2)
    assert prune() == ({other}, {})
    assert {path.name for path in boards.iterdir()} >= {now.name, f"{now.name}.log"}
    assert not list(boards.glob(f"*{OTHER}*"))


def test_use_of_a_root_file_system_counts_from_the_last_time():
    recipe = recipe_for("armv7l")
    path = made_rootfs(recipe.name, days=40)
    assert build_rootfs(recipe, Privilege(), emit=ignore) == path
    let_go()
    assert prune() == (set(), {})
    age(cache_root() / "boards" / ".locks" / recipe.name, 40)
    assert prune()[0] == {path}


def test_who_was_given_a_root_file_system_keeps_it(boards):
    path = made_rootfs(OTHER, days=2)
    code = (
        "from edgekit.board.rootfs import recipe_for, rootfs_path\n"
        "rootfs_path(recipe_for('aarch64'))"
    )
    with using(code):
        assert prune() == (set(), {path: "an edgekit that runs now uses such"})
    assert prune()[0] == {path}


@pytest.mark.parametrize("days", [2, 400])
def test_what_a_board_stands_on_stays_however_old(days, boards):
    base = made_rootfs(OTHER, days=days)
    image = made("boards/images", "other", days=days, files=("disk.img",))
    board("user", rootfs=OTHER)
    mine = board("system", image=image)
    gone, stays = prune(0.0)
    assert not gone
    assert stays == {
        base: "virtual board user stands on it",
        image: "virtual board system stands on it",
    }
    assert (mine / "disk.qcow2").exists()
    shutil.rmtree(boards / "instances")
    assert prune(0.0)[0] == {base, image}


def test_where_it_cannot_be_told_what_a_board_stands_on_all_stays(boards):
    base = made_rootfs(OTHER, days=400)
    image = made("boards/images", "other", days=400)
    folder = board("old", rootfs="")
    assert prune() == (
        set(),
        dict.fromkeys((base, image), "virtual board old may stand on it"),
    )
    shutil.rmtree(folder)
    (board("torn") / "disk.qcow2").write_bytes(b"QFI\xfb\0\0")
    assert set(prune()[1]) == {base, image}


def test_kernels_stay_while_there_is_a_machine(boards):
    image = made("boards/images", "other", days=400)
    parts = {made(f"boards/{name}", "other", days=400) for name in ("kernels", "modules")}
    loader = made("boards/boot-parts", "other", days=400)
    board("system", image=image)
    gone, stays = prune()
    assert gone == {loader}
    assert set(stays) == parts | {image}


def test_a_booted_state_and_its_image_go_together_or_stay_together(boards):
    image = made("boards/images", "other", days=400)
    booted = state("one", image, days=2)
    lock = booted.parent / ".locks" / booted.name
    with FileLock(lock):
        gone, stays = prune()
        assert not gone
        assert stays == {
            booted: "it is being made or used",
            image: "a booted system board stands on it",
        }
    assert prune()[0] == {booted, image}


def test_an_image_stays_if_its_state_was_not_in_the_plan(boards):
    image = made("boards/images", "other", days=400)
    planned = plan_removal(MONTH_S)
    booted = state("late", image, days=2)
    assert not remove(planned, MONTH_S).entries
    assert image.exists()
    assert booted.exists()


def test_what_this_edgekit_makes_boards_of_stays_until_it_is_old(boards):
    keys.ensure_key(client_key(), "test")
    parts = current_parts()
    assert {path.parent.name for path in parts} == {
        *("boards", "kernels", "modules", "boot-parts", "disks", "images")
    }
    for path in parts:
        path.mkdir(parents=True, exist_ok=True)
        if path.parent == boards:
            path.with_name(f"{path.name}.log").touch()
            age(path.with_name(f"{path.name}.log"), 20)
        age(path, 20)
    assert prune() == (set(), {})
    assert prune(19 * DAY_S)[0] == parts


def test_half_made_root_file_systems_and_disks_go_once_nobody_makes_them(boards):
    scratch = boards / f".building-{OTHER}-123"
    (scratch / "etc").mkdir(parents=True)
    image = boards / f".image-{'a' * 64}"
    image.mkdir()
    age(scratch, 2)
    age(image, 2)
    with (
        using(LOCK, boards / ".locks" / OTHER),
        using(LOCK, boards / "images" / ".locks" / ("a" * 64)),
    ):
        assert prune() == (set(), dict.fromkeys((scratch, image), "it is being made or used"))
    assert prune()[0] == {scratch, image}


def test_a_boards_own_files_and_keys_never_go(boards):
    keys.ensure_key(client_key(), "test")
    folder = board("mine", rootfs=OTHER)
    (folder / "upper" / "data").write_text("years of work")
    for path in (
        folder / "upper" / "data",
        folder / "upper",
        folder,
        folder.parent,
        boards / "keys",
    ):
        age(path, 4000)
    prune(0.0)
    assert (folder / "upper" / "data").read_text() == "years of work"
    assert client_key().exists()


def test_qemus_own_disk_tells_its_image(boards, tmp_path):
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    image = boards / "images" / ("b" * 64)
    image.mkdir(parents=True)
    (image / "disk.img").write_bytes(b"\0" * (1 << 20))
    make_disk(tmp_path / "disk.qcow2", image)
    assert image_below(tmp_path / "disk.qcow2") == image
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "own", "1M"], check=True)
    assert image_below(tmp_path / "own") is None
    assert not grounds()


def test_no_prune_asks_for_root_for_what_is_its_own(boards, monkeypatch):
    # As another user sees it: what root made takes root to remove, and nobody grants it.
    other = made_rootfs(OTHER, days=2)
    half = made("boards/disks", "half", days=400)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    assert prune() == ({half}, {other: "Removing it needs root: run the same command as root"})
    assert other.exists()
