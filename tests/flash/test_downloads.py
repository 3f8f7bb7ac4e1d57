"""Downloads that are kept: how much of them, and which."""

import os

import pytest

from edgekit.catalog.cache import FileLock
from edgekit.flash.downloads import ABOUT, CONTENT, LOCK, forget_old, mark_used


@pytest.fixture
def kept(tmp_path):
    """Four downloads of 100 bytes each, the first of which was used longest ago."""
    folders = [tmp_path / name for name in "abcd"]
    for age, folder in enumerate(folders):
        folder.mkdir()
        (folder / CONTENT).write_bytes(bytes(100))
        (folder / ABOUT).write_text("{}")
        os.utime(folder / ABOUT, (1000 + age, 1000 + age))
    return folders


def left(folders):
    return "".join(each.name for each in folders if (each / CONTENT).exists())


def test_no_more_is_kept_than_the_limit_and_what_was_used_last(kept):
    forget_old(kept[3], 400)
    assert left(kept) == "abcd"
    forget_old(kept[3], 399)
    assert left(kept) == "bcd"
    mark_used(kept[1])
    forget_old(kept[3], 200)
    assert left(kept) == "bd"
    assert not (kept[2] / ABOUT).exists()


def test_what_was_just_used_stays_however_large(kept):
    forget_old(kept[0], 10)
    assert left(kept) == "a"


def test_what_somebody_holds_stays_and_the_next_goes(kept):
    with FileLock(kept[0] / LOCK):
        forget_old(kept[3], 300)
        assert left(kept) == "acd"
    forget_old(kept[3], 200)
    assert left(kept) == "cd"


def test_content_that_nothing_describes_goes_first(kept):
    (kept[2] / ABOUT).unlink()
    forget_old(kept[3], 300)
    assert left(kept) == "abd"
    forget_old(kept[3], 200)
    assert left(kept) == "bd"
