"""Sources of frames that any machine has, and what every source keeps to."""

import importlib
import json
import sys
import time

import cv2
import numpy as np
import pytest

from edgekit.core.camera import SourceKind
from edgekit.onboard.camera.frames import SourceEnded
from edgekit.onboard.camera.pixels import FORMATS, to_rgb
from edgekit.onboard.camera.sources import KINDS, make_source
from edgekit.onboard.camera.sources.drawn import number_of
from edgekit.onboard.faults import RunFailedError

FACTS = {
    *("kind", "name", "driver", "card", "format", "width", "height", "fps", "timestamps"),
    "offered",
}


def drawn(count, **values):
    """Numbered frames ``uint8[H, W, 3]`` in RGB."""
    source = make_source({"kind": "drawn", "width": 160, "height": 128, "format": "RGB3", **values})
    source.open()
    frames = [to_rgb(source.read(1)) for _ in range(count)]
    source.close()
    return frames


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    for number, frame in enumerate(drawn(6)):
        name = place / f"{number:03}"
        if number % 3 == 0:
            np.save(name, frame)
        else:
            cv2.imwrite(f"{name}{'.png' if number % 3 == 1 else '.JPG'}", frame[..., ::-1])
    (place / "notes.txt").write_text("no image")
    return place


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "numbered.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 128))
    for frame in drawn(30):
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(params=["drawn", "drawn at a rate", "folder", "folder at a rate", "video"])
def table(request, folder, video):
    kind = request.param.split()[0]
    name = {"folder": folder, "video": video}.get(kind, "")
    return {"kind": kind, "name": str(name), "fps": 100 if "rate" in request.param else 0}


def read_all(source, most, timeout_s=2.0):
    frames = []
    while len(frames) < most:
        try:
            frame = source.read(timeout_s)
        except SourceEnded:
            break
        if frame is not None:
            frames.append(frame)
    return frames


def test_every_kind_that_can_be_asked_for_has_its_file():
    assert set(KINDS) == set(SourceKind.__args__)
    for kind, name in KINDS.items():
        module = importlib.import_module(f"edgekit.onboard.camera.sources.{kind}")
        assert hasattr(module, name)
    with pytest.raises(RunFailedError, match=r"no source webcam .*v4l2"):
        make_source({"kind": "webcam"})


def test_source_keeps_to_its_contract(table):
    source = make_source(table)
    source.close()  # harmless
    for _ in range(2):  # it can be opened again
        source.open()
        assert source.facts.keys() >= FACTS
        assert json.loads(json.dumps(source.facts)) == source.facts
        frames = read_all(source, 6)
        assert [frame.sequence for frame in frames] == list(range(6))
        for frame in frames:
            assert frame.format in FORMATS
            assert (frame.format, frame.width, frame.height) == (
                *(source.facts[name] for name in ("format", "width", "height")),
            ) or table["kind"] == "folder"
            assert frame.captured_ns <= frame.arrived_ns <= time.perf_counter_ns()
            assert not frame.corrupt
        captured = [frame.captured_ns for frame in frames]
        assert captured == sorted(captured)
        assert [number_of(to_rgb(frame)) for frame in frames] == list(range(6))
        source.close()
        for frame in frames:  # also after the source is closed
            frame.release()
        source.close()


def test_frame_that_was_not_given_back_stays_as_it_is(table):
    source = make_source(table)
    source.open()
    held = read_all(source, 2)
    for frame in read_all(source, 4):
        frame.release()
    assert [number_of(to_rgb(frame)) for frame in held] == [0, 1]
    source.close()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(16, 8), (322, 242), (640, 480)])
def test_numbers_are_read_back_from_every_format(name, size):
    source = make_source({"kind": "drawn", "width": size[0], "height": size[1], "format": name})
    source.open()
    small = size[0] < 100 and name in {"MJPG", "JPEG"}  # a JPEG knows no blocks of two pixels
    for number in range(3):
        frame = source.read(1)
        rgb = to_rgb(frame)
        assert rgb.shape == (size[1], size[0], 3)
        assert small or number_of(rgb) == number
        frame.release()


def test_number_survives_what_is_done_to_pictures_and_nothing_else_has_one():
    for number, frame in enumerate(drawn(300, width=640, height=480)):
        if number % 60:
            continue
        jpeg = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1)
        noise = np.random.RandomState(number).randint(-40, 41, frame.shape)
        for seen in (frame, jpeg, frame[..., ::-1], np.clip(frame + noise, 0, 255)):
            assert number_of(seen.astype(np.uint8)) == number
    random = np.random.RandomState(0)
    for nothing in (0, 255, 128):
        assert number_of(np.full((128, 160, 3), nothing, np.uint8)) == -1
    wrong = [number_of(random.randint(0, 256, (128, 160, 3), np.uint8)) for _ in range(50)]
    assert wrong.count(-1) > 45
    assert number_of(np.zeros((4, 4, 3), np.uint8)) == -1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": "YUYV", "width": 161}, "161x128 pixels cannot be drawn.* width is an even"),
        ({"format": "NV12", "height": 129}, "height is an even number"),
        ({"width": 8194}, "no edge is longer than 8192"),
        ({"format": "H264"}, "cannot be drawn"),
        ({"width": 8}, "no room for a number"),
    ],
)
def test_frames_that_cannot_be_drawn_are_refused(values, words):
    source = make_source({"kind": "drawn", "width": 160, "height": 128, **values})
    with pytest.raises(RunFailedError, match=words):
        source.open()


def test_camera_that_is_read_late_loses_what_its_buffers_do_not_hold():
    source = make_source({"kind": "drawn", "width": 160, "height": 128, "fps": 5})
    source.open()
    first = source.read(1)
    time.sleep(2.2)
    late = read_all(source, 6)
    numbers = [frame.sequence for frame in late]
    assert numbers[:4] == [1, 2, 3, 4]  # as many as it has buffers
    assert numbers[4] > 10
    assert [number_of(to_rgb(frame)) for frame in late] == numbers
    for frame in late:
        assert frame.captured_ns - first.captured_ns == frame.sequence * 200_000_000
    source.close()


def test_camera_without_a_rate_waits_for_its_reader():
    source = make_source({"kind": "drawn", "width": 160, "height": 128})
    source.open()
    numbers = []
    for _ in range(50):
        frame = source.read(0)
        numbers.append(frame.sequence)
        frame.release()
        time.sleep(0.002)
    assert numbers == list(range(50))


def test_files_come_no_faster_than_asked_for_and_none_is_lost(video):
    source = make_source({"kind": "video", "name": str(video), "fps": 50})
    source.open()
    assert source.facts["fps"] == 50
    frames = read_all(source, 10)
    time.sleep(0.1)  # late: what follows is late, not lost
    frames += read_all(source, 100)
    assert [number_of(to_rgb(frame)) for frame in frames] == list(range(30))
    gaps = np.diff([frame.captured_ns for frame in frames])
    assert gaps.min() > 0
    assert sum(gaps) >= 29 * 20_000_000
    with pytest.raises(SourceEnded, match=r"numbered\.avi"):
        source.read(1)
    source.close()
    slow = make_source({"kind": "video", "name": str(video), "fps": 0.01})
    slow.open()
    assert slow.read(1) is not None
    assert slow.read(0.01) is None  # not due for a minute and more
    slow.close()


def test_image_that_cannot_be_read_is_corrupt_and_the_next_one_is_not(folder):
    (folder / "001.png").write_bytes(b"\x89PNG broken")
    np.save(folder / "003.npy", np.zeros((4, 4), np.float32))
    for name in ("004-nothing.jpg", "004-nothing.npy"):
        (folder / name).touch()
    source = make_source({"kind": "folder", "name": str(folder)})
    source.open()
    frames = read_all(source, 10)
    assert [frame.corrupt for frame in frames] == [number in {1, 3, 4, 5} for number in range(8)]
    assert [len(frame.data) for frame in frames if frame.corrupt] == [0] * 4
    sound = [number_of(to_rgb(frame)) for frame in frames if not frame.corrupt]
    assert sound == [0, 2, 4, 5]
    with pytest.raises(SourceEnded):
        source.read(1)


def number_or_none(frame):
    """Read a frame's number; -1 where the source or the decoder finds it damaged."""
    try:
        return -1 if frame.corrupt else number_of(to_rgb(frame))
    except ValueError:
        return -1


def test_video_that_is_no_row_of_jpegs_is_decoded_as_it_is_read(tmp_path):
    path = tmp_path / "numbered.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (160, 128))
    for frame in drawn(10):
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    source = make_source({"kind": "video", "name": str(path)})
    source.open()
    assert source.facts["format"] == "BGR3"
    frames = read_all(source, 20)
    assert [number_of(to_rgb(frame)) for frame in frames] == list(range(10))


def test_damage_within_a_video_does_not_end_it(video):
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.RandomState(1).bytes(3000)
    video.write_bytes(data)
    source = make_source({"kind": "video", "name": str(video)})
    source.open()
    frames = read_all(source, 100)
    numbers = [number_or_none(frame) for frame in frames]
    assert numbers[:5] == [0, 1, 2, 3, 4]
    assert numbers[-5:] == [25, 26, 27, 28, 29]
    assert len(numbers) <= 30
    assert numbers != list(range(30))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "folder", "name": "/nonexistent"}, "no folder of images"),
        ({"kind": "folder", "name": "{empty}"}, "has no images"),
        ({"kind": "folder", "name": "{note}"}, "notes.txt cannot be read as an image"),
        ({"kind": "folder", "width": 100}, "160x128 pixels, not 100xany"),
        ({"kind": "folder", "format": "NV12"}, "gives frames of RGB3"),
        ({"kind": "video", "name": "/nonexistent"}, "there is no video"),
        ({"kind": "video", "name": "{note}"}, "cannot be read as a video"),
        ({"kind": "video", "height": 100}, "160x128 pixels, not anyx100"),
        ({"kind": "video", "format": "YUYV"}, "gives frames of MJPG"),
        ({"kind": "v4l2", "name": "/dev/nonexistent"}, "there is no camera"),
        ({"kind": "v4l2", "name": "/dev/null"}, "/dev/null is no camera"),
    ],
)
def test_what_cannot_be_meant_is_told(folder, video, tmp_path, values, words):
    (tmp_path / "empty").mkdir()
    names = {"folder": folder, "video": video}
    places = {"empty": tmp_path / "empty", "note": folder / "notes.txt"}
    name = values.get("name", str(names.get(values["kind"]))).format(**places)
    source = make_source({**values, "name": name})
    with pytest.raises(RunFailedError, match=words):
        source.open()
    source.close()


@pytest.mark.parametrize("kind", ["video", "rtsp", "folder"])
def test_without_opencv_the_package_is_named(monkeypatch, folder, video, kind):
    for name in ("cv2", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    names = {"video": video, "folder": folder, "rtsp": "rtsp://127.0.0.1:1/x"}
    with pytest.raises(RunFailedError, match="pip install opencv-python-headless"):
        make_source({"kind": kind, "name": str(names[kind])}).open()


def test_folder_of_arrays_needs_nothing(monkeypatch, folder):
    for path in folder.iterdir():
        if path.suffix != ".npy":
            path.unlink()
    monkeypatch.setitem(sys.modules, "cv2", None)
    source = make_source({"kind": "folder", "name": str(folder)})
    source.open()
    assert [number_of(to_rgb(frame)) for frame in read_all(source, 9)] == [0, 3]
