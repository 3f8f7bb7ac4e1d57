"""The pipeline that follows from what was asked for and what the recipe says."""

import pytest

from edgekit.app.camera_options import CameraOptions, wanted_pipeline
from edgekit.core.camera import (
    AdaptSpec,
    PipelineSpec,
    PreviewSpec,
    QueueSpec,
    SinkSpec,
    SourceSpec,
)
from edgekit.core.errors import UsageError
from edgekit.core.recipe import Pipeline

RECIPE = Pipeline(
    PipelineSpec(
        SourceSpec("v4l2", "/dev/video0", 1280, 720, "YUYV", 30.0),
        queue=QueueSpec(1, "latest"),
        queues=(("inference", QueueSpec(4, "block")), ("sink", QueueSpec(8, "block"))),
        sink=SinkSpec("lines", "/log"),
        placement=(("inference", "4-5"),),
        batch=2,
        memory_mb=64,
        decode="whole",
        preview=PreviewSpec(1.0, 100),
        adapt=AdaptSpec(late_ms=100.0),
    ),
    "int8",
)
CAMERA = SourceSpec("v4l2", "/dev/video0")


def test_source_alone_makes_a_pipeline_of_thirty_seconds():
    wanted = wanted_pipeline(CameraOptions(source=CAMERA), None)
    assert wanted.spec == PipelineSpec(CAMERA, seconds=30.0)
    assert wanted.lighter is None


def test_recipe_holds_where_nothing_is_asked():
    wanted = wanted_pipeline(CameraOptions(), RECIPE)
    assert wanted.lighter == "int8"
    assert wanted.spec.source == RECIPE.spec.source
    assert (wanted.spec.queue, wanted.spec.queues) == (RECIPE.spec.queue, RECIPE.spec.queues)
    assert (wanted.spec.sink, wanted.spec.placement) == (RECIPE.spec.sink, RECIPE.spec.placement)
    assert (wanted.spec.batch, wanted.spec.memory_mb) == (2, 64)
    assert wanted.spec.decode == "whole"
    assert wanted.spec.adapt == RECIPE.spec.adapt
    assert wanted.spec.preview is None  # nobody watches


def test_what_is_asked_wins_over_the_recipe():
    asked = CameraOptions(
        size=(640, 480),
        pixel_format="MJPG",
        fps=10.0,
        seconds=5.0,
        queue=QueueSpec(3, "block"),
        queues=(("inference", QueueSpec(1, "latest")),),
        placement=(("sink", "0"),),
        sink=SinkSpec(),
        batch=1,
        memory_mb=128,
        decode="reduced",
    )
    spec = wanted_pipeline(asked, RECIPE).spec
    assert spec.source == SourceSpec("v4l2", "/dev/video0", 640, 480, "MJPG", 10.0)
    assert spec.queue == QueueSpec(3, "block")
    assert dict(spec.queues) == {"inference": QueueSpec(1, "latest"), "sink": QueueSpec(8, "block")}
    assert dict(spec.placement) == {"inference": "4-5", "sink": "0"}
    assert spec.decode == "reduced"
    assert (spec.sink, spec.batch, spec.memory_mb, spec.seconds) == (SinkSpec(), 1, 128, 5.0)


def test_another_source_takes_nothing_from_the_recipes_own():
    spec = wanted_pipeline(CameraOptions(source=SourceSpec("drawn")), RECIPE).spec
    assert spec.source == SourceSpec("drawn")


@pytest.mark.parametrize(
    ("asked", "seconds", "frames"),
    [
        (CameraOptions(source=CAMERA, frames=100), 0.0, 100),
        (CameraOptions(source=CAMERA, frames=100, seconds=9.0), 9.0, 100),
        (CameraOptions(source=CAMERA, seconds=0.0), 0.0, 0),
    ],
)
def test_end_is_what_was_asked_for(asked, seconds, frames):
    spec = wanted_pipeline(asked, None).spec
    assert (spec.seconds, spec.frames) == (seconds, frames)


def test_pictures_are_made_only_for_who_watches():
    watched = wanted_pipeline(CameraOptions(), RECIPE, preview=PreviewSpec())
    assert watched.spec.preview == PreviewSpec(1.0, 100)
    plain = wanted_pipeline(CameraOptions(source=CAMERA), None, preview=PreviewSpec())
    assert plain.spec.preview == PreviewSpec()


def test_no_source_is_told_with_all_that_could_be_one():
    with pytest.raises(UsageError, match="no source") as caught:
        wanted_pipeline(CameraOptions(), None)
    assert "rtsp://" in caught.value.hint


def test_size_is_not_asked_of_what_has_one():
    asked = CameraOptions(source=SourceSpec("video", "clip.mp4"), size=(640, 480))
    with pytest.raises(UsageError, match="have the size that they have"):
        wanted_pipeline(asked, None)
