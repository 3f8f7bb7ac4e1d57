import json

import pytest
from cache_makers import LOCK, age, everything, made, prune, using

from edgekit.app.cache import overview
from edgekit.catalog.cache import ContentStore, KeyedCache
from edgekit.catalog.in_use import let_go


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder))
    folder.mkdir()
    return folder


def test_logs_and_half_fetched_models_go_when_they_are_old(root):
    for folder, name in (("logs", "20260101T000000.1-1-build.log"), ("partial", "ab.part")):
        (root / folder).mkdir()
        for each in (name, f"new-{name}"):
            (root / folder / each).write_text("x")
        age(root / folder / name, 31)
    gone, _ = prune()
    assert {path.parent.name for path in gone} == {"logs", "partial"}
    left = {path for path in everything(root) if path.is_file() and path.suffix != ".lock"}
    assert {path.name[:4] for path in left} == {"new-"}


def test_a_log_that_is_written_to_stays(root):
    (root / "logs").mkdir()
    log = root / "logs" / "build.log"
    log.write_text("begun")
    age(log, 31)
    with using("kept = open(sys.argv[1], 'a')", log):
        assert prune() == (set(), {log: "a program that runs uses it"})


def test_content_stays_as_long_as_a_list_that_stays_speaks_of_it(root):
    store = ContentStore()
    files = {name: store.add_bytes(name.encode()) for name in ("listed", "forgotten", "used")}
    assert store.verified(files["used"].sha256)
    for name in ("listed", "forgotten", "used"):
        age(files[name].path, 31)

    def fill(folder):
        (folder / "frames.json").write_text(json.dumps([[files["listed"].sha256, 6]]))

    listing = KeyedCache(root / "frames").build("k", fill)
    let_go()
    assert prune() == ({files["forgotten"].path}, {})
    age(listing, 31)
    # A list that may not go keeps what it speaks of.
    assert prune(kinds=("builds",)) == (set(), {})
    assert prune() == ({listing, files["listed"].path}, {})
    assert store.verified(files["used"].sha256)


def test_a_fetched_image_goes_and_its_lock_stays(root):
    folder = root / "downloads" / "0123"
    folder.mkdir(parents=True)
    for name in ("content", "about.json", "lock"):
        (folder / name).write_text(name)
        age(folder / name, 31)
    with using(LOCK, folder / "lock"):
        assert prune() == (set(), {folder / "content": "it is being made or used"})
    assert prune()[0] == {folder / "content"}
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_bytecode_goes_with_its_program(root, tmp_path):
    kept, gone = made("toolboxes", "kept"), made("toolboxes", "gone", days=31)
    (kept / "pyvenv.cfg").touch()
    for source in (kept / "lib", gone / "lib", tmp_path / "never"):
        place = root / "bytecode" / source.relative_to("/")
        place.mkdir(parents=True)
        (place / "module.pyc").write_bytes(b"x")
    removed, _ = prune()
    compiled = {root / "bytecode" / each.relative_to("/") for each in (gone, tmp_path / "never")}
    assert removed == {gone, *compiled}
    assert (root / "bytecode" / (kept / "lib").relative_to("/") / "module.pyc").exists()


@pytest.mark.parametrize(
    ("name", "days", "goes"),
    [
        ("ncnn", 2, True),
        ("ncnn", 0.5, False),
        ("export-mine", 2, False),
        ("export-mine", 31, True),
        ("", 2, False),
    ],
)
def test_a_toolbox_of_an_older_lock_goes_after_a_day(name, days, goes):
    path = made("toolboxes", "of another lock", days=days)
    (path / "edgekit-toolbox").write_text(name)
    age(path, days)
    assert prune()[0] == ({path} if goes else set())


def test_the_toolbox_that_an_engine_asks_for_now_stays(root):
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import toolbox_path

    path = toolbox_path(load_engine("ncnn").toolbox)
    path.mkdir(parents=True)
    (path / "edgekit-toolbox").write_text("ncnn")
    age(path, 20)
    assert prune() == (set(), {})


def test_the_overview_adds_up(root):
    made("builds", "old", days=31, size=100_000)
    made("models", "new", size=50_000)
    (root / "mine").write_bytes(b"x" * 9000)
    found = overview()
    shares = {each.kind: each for each in found.shares}
    assert set(shares) == {"builds", "data", "other"}
    assert found.taken_bytes == sum(each.taken_bytes for each in found.shares)
    assert 100_000 < shares["builds"].old_bytes < shares["builds"].taken_bytes
    assert shares["data"].old_bytes == shares["other"].old_bytes == 0
