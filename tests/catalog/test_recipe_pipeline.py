"""The table ``[pipeline]`` of a recipe: read whole, or refused with the line that is wrong."""

import pytest

from edgekit.catalog.recipes import read_recipe
from edgekit.core.camera import (
    AdaptSpec,
    PipelineSpec,
    PreviewSpec,
    QueueSpec,
    SinkSpec,
    SourceSpec,
)
from edgekit.core.errors import CatalogError

RECIPE = """\
title = "Tiny"
task = "detect"
licence = "MIT"
[source]
kind = "file"
path = "tiny.onnx"
sha256 = "{sha256}"
size_bytes = 1
[preprocess]
name = "tensor"
[postprocess]
name = "tensor"
""".format(sha256="0" * 64)

WHOLE = """
[pipeline]
source = "/dev/video0"
size = "1280x720"
format = "YUYV"
fps = 30
queue = "latest:2"
sink = "lines:/var/log/answers.jsonl"
batch = 2
memory_mb = 128
decode = "whole"
preview = { fps = 2, width = 320 }

[pipeline.queues]
inference = "block:4"

[pipeline.placement]
inference = "4-5"

[pipeline.adapt]
lighter = "int8"
late_ms = 100
hot_c = 80
"""


@pytest.fixture
def read(tmp_path):
    def reading(table):
        file = tmp_path / "tiny.toml"
        file.write_text(RECIPE + table)
        return read_recipe(file).pipeline

    return reading


def test_recipe_without_the_table_has_no_pipeline(read):
    assert read("") is None


def test_whole_table_is_read(read):
    pipeline = read(WHOLE)
    assert pipeline.lighter == "int8"
    assert pipeline.spec == PipelineSpec(
        source=SourceSpec("v4l2", "/dev/video0", 1280, 720, "YUYV", 30.0),
        queue=QueueSpec(2, "latest"),
        queues=(("inference", QueueSpec(4, "block")),),
        sink=SinkSpec("lines", "/var/log/answers.jsonl"),
        placement=(("inference", "4-5"),),
        batch=2,
        memory_mb=128,
        decode="whole",
        preview=PreviewSpec(2.0, 320),
        adapt=AdaptSpec(late_ms=100.0, hot_c=80.0, back_ms=70.0, back_c=72.0),
    )


def test_source_alone_suffices(read):
    pipeline = read('[pipeline]\nsource = "drawn:320x240"')
    assert pipeline.spec == PipelineSpec(SourceSpec("drawn", "", 320, 240))
    assert pipeline.lighter is None


def test_path_counts_from_the_recipes_folder(read, tmp_path):
    assert read('[pipeline]\nsource = "clip.mp4"').spec.source.name == str(tmp_path / "clip.mp4")
    assert read('[pipeline]\nsource = "/data/clip.mp4"').spec.source.name == "/data/clip.mp4"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", r":15: .*'source' is missing"),
        ('source = "ftp://x"', r":16: pipeline\.source: .*ftp is not served"),
        ('source = "drawn"\nsize = "720p"', r":17: pipeline\.size: .*1280x720"),
        ('source = "drawn"\nformat = "YUV"', r":17: pipeline\.format"),
        ('source = "drawn"\nqueue = "newest"', r":17: pipeline\.queue: .*policies"),
        ('source = "drawn"\nsink = "lines"', r":17: pipeline\.sink"),
        ('source = "drawn"\ndecode = "hole"', r":17: pipeline\.decode: .*did you mean whole"),
        ('source = "drawn"\nfps = -1', r":17: fps must lie"),
        ('source = "drawn"\nbatch = 0', r":17: batch must lie"),
        ('source = "drawn"\nmemory_mb = 1', r":17: memory_mb must lie"),
        ('source = "drawn"\nqueue = 2', r":17: pipeline\.queue must be a string"),
        ('source = "drawn"\nqeue = "latest"', r":17: unknown key 'qeue'.*did you mean 'queue'"),
        ('source = "drawn"\nqueues = { inferense = "block" }', "did you mean inference"),
        ('source = "drawn"\nplacement = { inference = "big" }', "no list of cores"),
        ('source = "drawn"\npreview = { fps = 0 }', "fps must lie"),
        ('source = "drawn"\nadapt = { lighter = "int8" }', "needs late_ms, or hot_c"),
        ('source = "drawn"\nadapt = { lighter = "int4", hot_c = 80 }', "must be one of fp32"),
        ('source = "drawn"\nadapt = { late_ms = 9 }', "'lighter' is missing"),
        ('source = "drawn"\nadapt = { lighter = "int8", late_ms = 9, back_ms = 10 }', "back_ms"),
    ],
)
def test_wrong_table_is_told_with_its_line(read, table, words):
    with pytest.raises(CatalogError, match=words):
        read("\n\n[pipeline]\n" + table)
