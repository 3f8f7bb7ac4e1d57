"""Sources of frames that any machine has, and what every source keeps to."""

import errno
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.core.camera import SourceKind
from edgekit.onboard.camera import v4l2_layouts, v4l2_offers
from edgekit.onboard.camera.frames import SourceEnded, SourceLostError
from edgekit.onboard.camera.pixels import FORMATS, to_rgb
from edgekit.onboard.camera.sources import KINDS, make_source
from edgekit.onboard.camera.sources.drawn import number_of
from edgekit.onboard.camera.sources.v4l2 import V4l2Source
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
        ({"format": "YUYV", "width": 161}, "pairs of pixels"),
        ({"format": "NV12", "height": 129}, "pairs of pixels"),
        ({"format": "H264"}, "cannot be drawn"),
        ({"width": 8}, "too little room"),
    ],
)
def test_frames_that_cannot_be_drawn_are_refused(values, words):
    source = make_source({"kind": "drawn", "width": 160, "height": 128, **values})
    with pytest.raises(RunFailedError, match=words):
        source.open()


def test_camera_that_is_read_late_loses_what_its_buffers_do_not_hold():
    source = make_source({"kind": "drawn", "width": 160, "height": 128, "fps": 100})
    source.open()
    first = source.read(1)
    time.sleep(0.3)
    late = [source.read(1) for _ in range(6)]
    numbers = [frame.sequence for frame in late]
    assert numbers[:4] == [1, 2, 3, 4]  # as many as it has buffers
    assert numbers[4] >= 30
    assert [number_of(to_rgb(frame)) for frame in late] == numbers
    for frame in late:
        assert frame.captured_ns - first.captured_ns == frame.sequence * 10_000_000
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
    frames = [source.read(1)]
    assert source.read(0.0005) is None  # not due
    frames += read_all(source, 9)
    time.sleep(0.1)  # late: what follows is late, not lost
    frames += read_all(source, 100)
    assert [number_of(to_rgb(frame)) for frame in frames] == list(range(30))
    gaps = np.diff([frame.captured_ns for frame in frames])
    assert gaps.min() > 0
    assert sum(gaps) >= 29 * 20_000_000
    with pytest.raises(SourceEnded, match=r"numbered\.avi"):
        source.read(1)
    source.close()


def test_image_that_cannot_be_read_is_corrupt_and_the_next_one_is_not(folder):
    (folder / "001.png").write_bytes(b"\x89PNG broken")
    np.save(folder / "003.npy", np.zeros((4, 4), np.float32))
    source = make_source({"kind": "folder", "name": str(folder)})
    source.open()
    frames = read_all(source, 10)
    assert [frame.corrupt for frame in frames] == [number in {1, 3} for number in range(6)]
    assert [len(frame.data) for frame in frames if frame.corrupt] == [0, 0]
    sound = [number_of(to_rgb(frame)) for frame in frames if not frame.corrupt]
    assert sound == [0, 2, 4, 5]
    with pytest.raises(SourceEnded):
        source.read(1)


def test_damage_within_a_video_does_not_end_it(video):
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.RandomState(1).bytes(3000)
    video.write_bytes(data)
    source = make_source({"kind": "video", "name": str(video)})
    source.open()
    frames = read_all(source, 100)
    numbers = [-1 if frame.corrupt else number_of(to_rgb(frame)) for frame in frames]
    assert numbers[:5] == [0, 1, 2, 3, 4]
    assert numbers[-5:] == [25, 26, 27, 28, 29]
    assert len(numbers) <= 30
    assert numbers != list(range(30))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "folder", "name": "/nonexistent"}, "no folder of images"),
        ({"kind": "folder", "name": "{empty}"}, "has no images"),
        ({"kind": "folder", "width": 100}, "160x128 pixels, not 100xany"),
        ({"kind": "folder", "format": "NV12"}, "gives frames of RGB3"),
        ({"kind": "video", "name": "/nonexistent"}, "there is no video"),
        ({"kind": "video", "name": "{note}"}, "cannot be read as a video"),
        ({"kind": "video", "height": 100}, "160x128 pixels, not anyx100"),
        ({"kind": "video", "format": "YUYV"}, "gives frames of BGR3"),
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


def test_layouts_are_those_of_the_kernels_header(tmp_path):
    names = [
        *("QUERYCAP", "ENUM_FMT", "G_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF"),
        *("STREAMON", "STREAMOFF", "G_PARM", "S_PARM", "G_CTRL"),
        *("ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS"),
    ]
    places = {
        "struct v4l2_format, fmt": v4l2_layouts.Format.picture.offset,
        "struct v4l2_buffer, m": v4l2_layouts.Buffer.where.offset,
        "struct v4l2_buffer, sequence": v4l2_layouts.Buffer.sequence.offset,
        "struct v4l2_buffer, timestamp": v4l2_layouts.Buffer.seconds.offset,
        "struct v4l2_plane, data_offset": v4l2_layouts.Plane.first.offset,
        "struct v4l2_pix_format_mplane, num_planes": v4l2_layouts.PlanesPicture.count.offset,
        "struct v4l2_captureparm, timeperframe": 8,
    }
    shown = [f"VIDIOC_{name}" for name in names] + [f"offsetof({place})" for place in places]
    lines = "".join(f'printf("%lu\\n", (unsigned long)({each}));' for each in shown)
    source = tmp_path / "shown.c"
    headers = "".join(
        f"#include <{each}>\n" for each in ("stddef.h", "stdio.h", "linux/videodev2.h")
    )
    source.write_text(f"{headers}int main(void) {{ {lines} return 0; }}")
    if not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("the kernel's headers are not here")
    subprocess.run(["cc", "-o", tmp_path / "shown", source], check=True)
    said = subprocess.run([tmp_path / "shown"], capture_output=True, text=True, check=True).stdout
    ours = [getattr(v4l2_layouts, name) for name in names] + list(places.values())
    assert [int(line) for line in said.split()] == ours


def test_the_cheapest_formats_are_all_that_can_be_read():
    assert set(v4l2_offers.READABLE) == set(FORMATS)


class Offering:
    """What a camera's driver tells, without a camera."""

    def __init__(self, **offers):
        self._offers = offers

    def formats(self):
        return list(self._offers)

    def picture(self):
        return v4l2_offers.Wish("YUYV", 640, 480, 0)

    def sizes(self, name):
        return [
            v4l2_layouts.FrameSize(type=1 if len(each) == 2 else 3, bounds=(*each,))
            for each in self._offers.get(name, {})
        ]

    def intervals(self, name, width, height):
        sizes = self._offers[name]
        if (width, height) in sizes:
            rates = sizes[width, height]
            return [v4l2_layouts.FrameInterval(type=1, fractions=(1, rate)) for rate in rates]
        ranges = [(1, most, 1, least, 0, 1) for least, most in sizes.values()] if sizes else []
        return [v4l2_layouts.FrameInterval(type=2, fractions=each) for each in ranges]


USB2 = Offering(
    YUYV={(640, 480): [30, 15], (1280, 720): [10]}, MJPG={(640, 480): [30], (1280, 720): [30, 60]}
)


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        (("", 0, 0, 0), ("YUYV", 640, 480)),
        (("", 640, 480, 30), ("YUYV", 640, 480)),
        (("", 1280, 720, 0), ("MJPG", 1280, 720)),  # the other one crawls
        (("", 1280, 720, 10), ("YUYV", 1280, 720)),
        (("YUYV", 1280, 720, 30), ("YUYV", 1280, 720)),
        (("", 1920, 1080, 0), None),
        (("NV12", 640, 480, 0), None),
    ],
)
def test_format_is_chosen_that_comes_fast_enough_and_costs_least(wish, found):
    assert v4l2_offers.choose(USB2, v4l2_offers.Wish(*wish)) == found


def test_offers_are_told_in_words_whatever_their_kind():
    assert v4l2_offers.offered(USB2) == [
        "YUYV 640x480 30, 15 fps",
        "YUYV 1280x720 10 fps",
        "MJPG 640x480 30 fps",
        "MJPG 1280x720 60, 30 fps",
    ]
    steps = Offering(NV12={(32, 1920, 16, 16, 1080, 2): (1, 60)}, SGBR={}, GREY={})
    assert v4l2_offers.offered(steps) == [
        "NV12 32x16..1920x1080 in steps of 16x2 1..60 fps",
        "SGBR (not read here)",
        "GREY",
    ]
    choose = v4l2_offers.choose
    assert choose(steps, v4l2_offers.Wish("NV12", 640, 480, 0)) == ("NV12", 640, 480)
    assert choose(steps, v4l2_offers.Wish("NV12", 641, 480, 0)) is None
    assert choose(steps, v4l2_offers.Wish("GREY", 640, 480, 0)) == ("GREY", 640, 480)
    assert v4l2_offers.summary(steps).endswith("| SGBR (not read here) | GREY")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "group .*usermod -aG"),
        (errno.EBUSY, "busy: another program holds it"),
        (errno.EIO, "cannot be used: Input/output error"),
    ],
)
def test_camera_that_cannot_be_had_says_why(monkeypatch, number, words):
    def refuse(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("edgekit.onboard.camera.sources.v4l2.Device", refuse)
    source = V4l2Source({"name": "/dev/video0"})
    with pytest.raises(RunFailedError, match=words):
        source.open()
    with pytest.raises(SourceLostError, match="not open"):
        source.read(0.1)
