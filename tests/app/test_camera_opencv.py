"""When a pipeline is lent OpenCV, and which of the device's own is good enough."""

from types import SimpleNamespace

import pytest

from edgekit.app import camera_opencv
from edgekit.app.camera_opencv import Interpreter, has_opencv, lend_opencv
from edgekit.core.bundle import RuntimePack
from edgekit.core.camera import PipelineSpec, PreviewSpec, SinkSpec, SourceSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.target import PythonFacts

PYTHON = "/usr/bin/python3"
DRAWN = PipelineSpec(SourceSpec("drawn"))


def wheels(numpy):
    return (f"numpy-{numpy}-cp311-cp311-manylinux_2_28_aarch64.whl", "ncnn-1-x.whl")


@pytest.mark.parametrize(
    ("opencv", "own", "brought", "good"),
    [
        (False, "2.4.6", "2.4.6", False),
        (True, "2.4.6", "2.4.6", True),
        (True, "2.1.0", "2.4.6", True),
        (True, "2.10.0", "2.4.6", False),
        (True, "1.24.2", "2.4.6", False),
        (True, "1.26.4", "1.24.4", False),
        (True, "1.24.2", None, True),
        (True, None, "2.4.6", False),
    ],
)
def test_own_opencv_is_used_where_it_goes_with_the_runtimes_numpy(opencv, own, brought, good):
    facts = SimpleNamespace(pythons=(PythonFacts(PYTHON, "3.11.2", own, opencv),))
    held = wheels(brought) if brought else ("ncnn-1-x.whl",)
    assert has_opencv(Interpreter(PYTHON, held), facts) is good
    assert has_opencv(Interpreter("3.11", held), facts) is good
    assert has_opencv(Interpreter("/usr/bin/python3.9", held), facts) is False


class Board:
    """A device that takes whatever it is given."""

    def __init__(self, *, opencv=False):
        self.facts = SimpleNamespace(pythons=(PythonFacts(PYTHON, "3.11.2", "2.4.6", opencv),))
        self.pushed, self.installed = [], []

    def push(self, files, emit):
        self.pushed += files

    def install_runtime(self, pack, emit):
        self.installed.append(pack)


@pytest.fixture
def resolved(monkeypatch):
    asked = []

    def resolve(spec, facts, *, emit):
        asked.append(spec)
        return RuntimePack("opencv-5", spec.python.executable, ("wheel",))

    monkeypatch.setattr("edgekit.toolbox.wheels.resolve", resolve)
    return asked


@pytest.mark.parametrize(
    "spec",
    [
        PipelineSpec(SourceSpec("video", "clip.mp4")),
        PipelineSpec(SourceSpec("rtsp", "rtsp://cam")),
        PipelineSpec(SourceSpec("folder", "images")),
        PipelineSpec(SourceSpec("v4l2", "/dev/video0", format="MJPG")),
        PipelineSpec(SourceSpec("drawn"), preview=PreviewSpec()),
        PipelineSpec(SourceSpec("drawn"), sink=SinkSpec("video", "out.mp4")),
        PipelineSpec(SourceSpec("drawn"), sink=SinkSpec("images", "/data")),
    ],
)
def test_pipeline_that_wants_it_is_lent_it(resolved, spec):
    board, notes = Board(), []
    lent = lend_opencv(board, Interpreter(PYTHON, wheels("2.4.6")), spec, emit=notes.append)
    assert lent == ("opencv-5",)
    assert board.pushed == ["wheel"]
    assert [pack.identity for pack in board.installed] == ["opencv-5"]
    assert [(spec.packages, spec.requirements.is_file()) for spec in resolved] == [
        (("opencv-python-headless",), True)
    ]
    own = Board(opencv=True)
    assert lend_opencv(own, Interpreter(PYTHON, wheels("2.4.6")), spec, emit=notes.append) == ()
    assert own.installed == []


def test_pipeline_that_wants_none_is_lent_none(resolved):
    raw = PipelineSpec(SourceSpec("v4l2", "/dev/video0", format="YUYV"))
    for spec in (DRAWN, raw):
        assert lend_opencv(Board(), Interpreter(PYTHON, ()), spec, emit=print) == ()
    assert resolved == []


def test_device_that_no_wheel_fits_is_told_only_where_it_must_have_one(monkeypatch):
    def resolve(spec, facts, *, emit):
        raise ToolboxError("no wheel of opencv-python-headless exists for armv7l", hint="other")

    monkeypatch.setattr("edgekit.toolbox.wheels.resolve", resolve)
    notes = []
    asked = Interpreter(PYTHON, ())
    shown = PipelineSpec(SourceSpec("drawn"), preview=PreviewSpec())
    assert lend_opencv(Board(), asked, shown, emit=notes.append) == ()
    assert [note.warning for note in notes] == [True]
    assert "armv7l" in notes[0].text
    video = PipelineSpec(SourceSpec("video", "clip.mp4"))
    with pytest.raises(ToolboxError, match="armv7l") as caught:
        lend_opencv(Board(), asked, video, emit=notes.append)
    assert "python3-opencv" in caught.value.hint


def test_lock_stands_beside_the_toolboxes():
    assert camera_opencv.PACKAGE in camera_opencv.opencv_lock().read_text()
