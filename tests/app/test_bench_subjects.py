"""On which frames what is active on a device is measured."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edgekit.app.bench_subjects import _frames_for
from edgekit.core.errors import UsageError
from edgekit.core.events import ignore

ACTIVE = SimpleNamespace(name="net")


def test_folder_of_images_may_hold_other_files_and_many_images(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    assert len(_frames_for(ACTIVE, tmp_path, ignore)) == 8


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no image in"):
        _frames_for(ACTIVE, tmp_path, ignore)
