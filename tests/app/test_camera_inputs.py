"""What a pipeline reads of the host's, and what comes home of what it writes."""

import pytest

from edgekit.app.camera_inputs import inputs_of
from edgekit.core.camera import PipelineSpec, SinkSpec, SourceSpec
from edgekit.core.errors import UsageError


def spec_of(kind, name, sink=None):
    return PipelineSpec(SourceSpec(kind, str(name)), sink=sink or SinkSpec())


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "my clip: ü.mp4"
    path.write_bytes(b"frames")
    return path


class Board:
    """A device that takes whatever it is given."""

    def __init__(self):
        self.pushed = []

    def push(self, files, emit):
        self.pushed += files


def test_video_of_this_host_is_sent_under_a_name_that_the_agent_takes(clip):
    inputs = inputs_of(spec_of("video", clip), local=False)
    board = Board()
    [(sha256, name)] = inputs.send(board, print)
    assert name == "my_clip_.mp4"
    assert inputs.spec.source.name == "inputs/my_clip_.mp4"
    assert [(file.sha256, file.source) for file in board.pushed] == [(sha256, clip)]


def test_this_machine_reads_its_files_where_they_stand(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    inputs = inputs_of(spec_of("video", clip.name), local=True)
    assert inputs.spec.source.name == str(clip)
    assert inputs.send(Board(), print) == ()


def test_images_of_a_folder_are_sent_in_their_order(tmp_path):
    for name in ("b.jpg", "a b.PNG", "notes.txt", "é.jpg", ".hidden.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    inputs = inputs_of(spec_of("folder", tmp_path), local=False)
    assert inputs.spec.source.name == "inputs"
    sent = [name for _sha256, name in inputs.send(Board(), print)]
    assert sent == sorted(sent)
    assert sent == ["000000-.hidden.jpg", "000001-a_b.PNG", "000002-b.jpg", "000003-_.jpg"]


def test_names_stay_short_enough_for_the_agent(tmp_path):
    (tmp_path / f"{'x' * 240}.jpg").write_bytes(b"")
    [(name, _path)] = inputs_of(spec_of("folder", tmp_path), local=False).files
    assert len(name) <= 128
    assert name.endswith(".jpg")


def test_path_that_is_not_here_is_the_devices(tmp_path):
    asked = spec_of("video", "/media/usb/clip.mp4")
    assert inputs_of(asked, local=False).spec == asked
    assert inputs_of(asked, local=False).files == ()


@pytest.mark.parametrize(
    ("kind", "name", "local"),
    [("video", "/no/clip.mp4", True), ("video", "clip.mp4", False), ("folder", "./none", False)],
)
def test_path_that_is_nowhere_is_refused(kind, name, local, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no"):
        inputs_of(spec_of(kind, name), local=local)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"")
    for local in (True, False):
        with pytest.raises(UsageError, match="has no images"):
            inputs_of(spec_of("folder", tmp_path), local=local)


def test_sources_that_are_no_files_are_left_alone():
    for kind, name in (("v4l2", "/dev/video0"), ("rtsp", "rtsp://cam"), ("drawn", "")):
        asked = spec_of(kind, name)
        assert inputs_of(asked, local=False).spec == asked


def test_answers_with_a_relative_path_come_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = inputs_of(spec_of("drawn", "", SinkSpec("lines", "a.jsonl")), local=False)
    assert inputs.spec.sink == SinkSpec("lines", "answers.jsonl")
    assert inputs.kept is not None
    assert [str(each) for each in inputs.kept] == ["answers.jsonl", "a.jsonl"]
    (tmp_path / "out").mkdir()
    inputs = inputs_of(spec_of("drawn", "", SinkSpec("video", "out/v.mkv")), local=False)
    assert inputs.spec.sink == SinkSpec("video", "video.mkv")
    assert [str(each) for each in inputs.kept] == ["video.mkv", "out/v.mkv"]


@pytest.mark.parametrize(
    "sink",
    [
        SinkSpec("lines", "/var/log/answers.jsonl"),
        SinkSpec("images", "/data/pictures"),
        SinkSpec("video", "gst:appsrc ! fakesink"),
        SinkSpec("memory", "frames"),
    ],
)
def test_sink_of_the_devices_own_is_left_alone(sink):
    inputs = inputs_of(spec_of("drawn", "", sink), local=False)
    assert inputs.spec.sink == sink
    assert inputs.kept is None


def test_sink_that_cannot_come_home_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        inputs_of(spec_of("drawn", "", SinkSpec("lines", "none/a.jsonl")), local=False)
    with pytest.raises(UsageError, match="cannot be brought home"):
        inputs_of(spec_of("drawn", "", SinkSpec("images", "pictures")), local=False)
    with pytest.raises(UsageError, match="no plain file"):
        inputs_of(spec_of("drawn", "", SinkSpec("lines", ".")), local=False)
