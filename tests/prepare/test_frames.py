"""Frames: the user's images, the recipe's, or drawn ones."""

import cv2
import numpy as np
import pytest
import tiny_models

from edgekit.core.errors import UsageError
from edgekit.core.events import Note, ignore
from edgekit.core.model import FileRef, Model, Pipeline, TensorSpec
from edgekit.core.recipe import Samples
from edgekit.prepare.frames import frames_of, load_frames

SAMPLES = Samples(kind="images", path="things/val", count=3, seed=5)


def model(recipe):
    file = FileRef(None, "0" * 64, 0)
    pipeline = Pipeline(recipe.preprocess, recipe.postprocess)
    inputs = (TensorSpec("x", "float32", (1, 4)), TensorSpec("ids", "int64", (1, 7)))
    return Model("tiny", file, file, "0" * 64, inputs, (), (), False, pipeline, pipeline)


def frames(recipe, images=None, emit=ignore):
    return load_frames(recipe, model(recipe), images=images, emit=emit)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "data" / "things" / "val"
    folder.mkdir(parents=True)
    for index in range(6):
        image = np.full((4 + index, 8, 3), (10, 20, 200), np.uint8)  # BGR
        cv2.imwrite(str(folder / f"{index}.png"), image)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_recipe_images_become_rgb_frames(pictures, tmp_path, monkeypatch, events):
    monkeypatch.setenv("EDGEKIT_DATA_PATH", str(tmp_path / "data"))
    found = frames(tiny_models.recipe(samples=SAMPLES), emit=events)
    assert len(found) == 3
    for frame in found:
        array = np.load(frame.path)
        assert array.dtype == np.uint8
        assert array[0, 0].tolist() == [200, 20, 10]
        assert frame.path.stat().st_size == frame.size_bytes
    assert not events.of(Note)


def test_data_beside_the_mirror_is_found(pictures, tmp_path, monkeypatch, events):
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", str(tmp_path / "models"))
    assert len(frames(tiny_models.recipe(samples=SAMPLES), emit=events)) == 3
    assert not events.of(Note)


def test_pick_is_the_same_each_time_and_hangs_on_the_seed(pictures, own_cache):
    def heights(seed):
        samples = Samples(kind="images", count=3, seed=seed)
        found = frames(tiny_models.recipe(samples=samples), images=pictures)
        return [np.load(frame.path).shape[0] for frame in found]

    assert heights(5) == heights(5)
    assert len({tuple(heights(seed)) for seed in range(8)}) > 1


def test_changed_image_is_read_anew(pictures):
    recipe = tiny_models.recipe(samples=Samples(kind="images", count=99))
    before = frames(recipe, images=pictures)
    assert frames(recipe, images=pictures) == before
    cv2.imwrite(str(pictures / "0.png"), np.zeros((30, 30, 3), np.uint8))
    after = frames(recipe, images=pictures)
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_lost_content_is_made_again(pictures):
    recipe = tiny_models.recipe(samples=SAMPLES)
    before = frames(recipe, images=pictures)
    before[1].path.unlink()
    assert frames(recipe, images=pictures) == before
    assert before[1].path.is_file()


def test_one_image_may_be_given(pictures):
    found = frames(tiny_models.recipe(samples=SAMPLES), images=pictures / "2.png")
    assert [np.load(frame.path).shape for frame in found] == [(6, 8, 3)]


def test_images_out_of_reach_are_replaced_by_drawn_ones_with_a_note(events):
    found = frames(tiny_models.recipe(samples=SAMPLES), emit=events)
    assert len(found) == 3
    assert np.load(found[0].path).dtype == np.uint8
    assert "things/val" in events.of(Note)[0].text
    assert events.of(Note)[0].warning


def test_shapes_are_drawn_from_the_seed_without_a_note(events):
    from edgekit.prepare.shapes import draw_scene

    samples = Samples(kind="shapes", count=2, seed=9)
    found = frames(tiny_models.recipe(samples=samples), emit=events)
    np.testing.assert_array_equal(np.load(found[1].path), draw_scene(9, 1).frame)
    assert not events.of(Note)


def test_broken_image_is_left_out_with_a_note(pictures, events):
    (pictures / "3.png").write_bytes(b"\x89PNG broken")
    recipe = tiny_models.recipe(samples=Samples(kind="images", count=99))
    assert len(frames(recipe, images=pictures, emit=events)) == 5
    assert "3.png" in events.of(Note)[0].text


@pytest.mark.parametrize("content", [None, b"broken"])
def test_folder_without_a_readable_image_is_refused(tmp_path, content):
    if content:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UsageError, match="image"):
        frames(tiny_models.recipe(samples=SAMPLES), images=tmp_path)


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder or image"):
        frames(tiny_models.recipe(), images=tmp_path / "gone")


def test_bare_tensors_are_drawn_from_the_seed():
    found = frames(tiny_models.recipe("tensor"))
    assert len({frame.sha256 for frame in found}) == len(found) > 1
    with np.load(found[0].path) as tensors:
        assert tensors["x"].dtype == np.float32
        assert tensors["x"].shape == (1, 4)
        assert tensors["ids"].dtype == np.int64


def test_images_for_bare_tensors_are_refused(pictures):
    with pytest.raises(UsageError, match="bare tensors"):
        frames(tiny_models.recipe("tensor"), images=pictures)


def test_each_image_given_is_one_frame_in_its_order(pictures):
    given = [pictures / "4.png", pictures / "1.png", pictures / "4.png"]
    assert [np.load(frame.path).shape[0] for frame in frames_of(given)] == [8, 5, 8]


@pytest.mark.parametrize("content", [None, b"broken"])
def test_image_that_cannot_be_read_is_refused(pictures, tmp_path, content):
    if content:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.jpg"):
        frames_of([pictures / "1.png", tmp_path / "a.jpg"])
