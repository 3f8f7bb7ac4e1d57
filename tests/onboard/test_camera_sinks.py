"""What a camera pipeline's sinks leave, read back: by other programs, where it is for them."""

import errno
import fcntl
import importlib.util
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.onboard.camera.frames import Captured, Frame
from edgekit.onboard.camera.sinks import KINDS, images, make_sink, pictures
from edgekit.onboard.camera.sinks import ring as ring_layout
from edgekit.onboard.camera.sinks.boxes import with_boxes
from edgekit.onboard.camera.sinks.launch import Launched
from edgekit.onboard.camera.sinks.memory import MemorySink, Reader
from edgekit.onboard.faults import RunFailedError

_REPOSITORY = Path(edgekit.__file__).parents[1]
_FACTS = {"width": 64, "height": 48, "fps": 25.0}
_BOX = [8.2, 4.0, 40.0, 30.0, 0.9, 2]
_needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="gst-launch-1.0 is not installed (scripts/system-packages.sh camera)",
)


def _frame(number, rgb=None, answers=None, captured_ns=None):
    at_ns = 1_000_000_000 + number * 40_000_000 if captured_ns is None else captured_ns
    captured = Captured(b"", "RGB3", 0, 0, 0, at_ns, at_ns, number, False, lambda: None)
    frame = Frame(number, captured, 5)
    frame.rgb = _flat(number) if rgb is None else rgb
    frame.answers = [_BOX] if answers is None else answers
    return frame


def _flat(number, height=48, width=64):
    return np.full((height, width, 3), number * 5 % 256, np.uint8)


def _taken(sink, frames, facts=None):
    sink.open(facts or _FACTS)
    try:
        for frame in frames:
            sink.take(frame)
    finally:
        sink.close()
    return sink.facts


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _python(code, *arguments, **options):
    """Another process of this Python, on the code under test."""
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


# ---- all kinds -----------------------------------------------------------------------------


def _path_for(kind, folder):
    return {
        "none": "",
        "lines": f"{folder}/answers.jsonl",
        "images": f"{folder}/pictures",
        "video": f"{folder}/video.avi",
        "memory": f"{folder}/ring",
    }[kind]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_counts_its_frames_and_leaves_them_as_they_were(kind, tmp_path):
    sink = make_sink({"kind": kind, "path": _path_for(kind, tmp_path)})
    sink.close()  # harmless before it is opened
    frames = [_frame(number) for number in range(5)]
    before = [frame.rgb.copy() for frame in frames]
    for frame in frames:
        frame.rgb.flags.writeable = False
    facts = _taken(sink, frames)
    sink.close()  # and once it is closed
    assert (facts["kind"], facts["frames"]) == (kind, 5)
    assert facts["path"] == _path_for(kind, tmp_path)
    assert (facts["bytes"] > 0) == (kind != "none")
    assert json.loads(json.dumps(facts)) == facts
    for frame, rgb in zip(frames, before, strict=True):
        np.testing.assert_array_equal(frame.rgb, rgb)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"none"}))
def test_a_path_in_a_folder_that_is_missing_is_told_with_the_systems_reason(kind, tmp_path):
    path = _path_for(kind, tmp_path / "missing")
    sink = make_sink({"kind": kind, "path": path})
    with pytest.raises(RunFailedError, match=f"cannot write to {path}: No such file or directory"):
        sink.open(_FACTS)
    sink.close()


@pytest.mark.parametrize("kind", ["lines", "images", "video"])
def test_a_sink_that_needs_a_path_says_which(kind):
    with pytest.raises(RunFailedError, match=f"a sink of kind {kind} needs a path: of "):
        make_sink({"kind": kind, "path": ""})


@pytest.mark.parametrize("kind", ["lines", "images", "video", "memory"])
def test_a_frame_for_a_closed_sink_is_refused(kind, tmp_path):
    sink = make_sink({"kind": kind, "path": _path_for(kind, tmp_path)})
    with pytest.raises(RunFailedError, match="is not open"):
        sink.take(_frame(0))


def test_an_unknown_kind_is_told_with_those_there_are():
    known = "images, lines, memory, none, video"
    with pytest.raises(RunFailedError, match=rf"no sink named printer \(it has: {known}\)"):
        make_sink({"kind": "printer", "path": ""})


# ---- lines ---------------------------------------------------------------------------------


def test_lines_hold_number_time_and_answers_of_each_frame(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("what an earlier run left\n")
    sink = make_sink({"kind": "lines", "path": str(path)})
    facts = _taken(
        sink, [_frame(0), _frame(7, answers=[["\u00fcber\n", 0.5]]), _frame(8, answers=[])]
    )
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"number": 0, "captured_ns": 1_000_000_000, "answers": [_BOX]},
        {"number": 7, "captured_ns": 1_280_000_000, "answers": [["\u00fcber\n", 0.5]]},
        {"number": 8, "captured_ns": 1_320_000_000, "answers": []},
    ]
    assert facts["bytes"] == path.stat().st_size


def test_a_line_is_handed_over_in_one_call(tmp_path, monkeypatch):
    sink = make_sink({"kind": "lines", "path": str(tmp_path / "answers.jsonl")})
    sink.open(_FACTS)
    handed, write = [], os.write
    with monkeypatch.context() as context:
        context.setattr(os, "write", lambda file, data: handed.append(data) or write(file, data))
        sink.take(_frame(0))
        sink.take(_frame(1, answers=[[n] * 6 for n in range(3000)]))
    sink.close()
    assert [json.loads(line)["number"] for line in handed] == [0, 1]
    assert [line.count(b"\n") for line in handed] == [1, 1]


def test_an_answer_that_is_no_json_is_a_fault_of_its_frame_alone(tmp_path):
    path = tmp_path / "answers.jsonl"
    sink = make_sink({"kind": "lines", "path": str(path)})
    sink.open(_FACTS)
    with pytest.raises(ValueError, match="JSON compliant"):
        sink.take(_frame(0, answers=[[float("nan")]]))
    sink.take(_frame(1))
    sink.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1]


def test_a_full_disk_is_told_in_the_systems_words():
    sink = make_sink({"kind": "lines", "path": "/dev/full"})
    sink.open(_FACTS)
    with pytest.raises(RunFailedError, match="cannot write to /dev/full: No space left on device"):
        sink.take(_frame(0))
    sink.close()
    assert sink.facts["frames"] == 0


_LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[3])
from test_camera_sinks import _FACTS, _frame
from edgekit.onboard.camera.sinks import make_sink
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sink = make_sink({"kind": sys.argv[4], "path": sys.argv[1]})
sink.open(_FACTS)
try:
    for number in range(int(sys.argv[5])):
        sink.take(_frame(number))
    sink.close()
except Exception as error:
    print(type(error).__name__, sink.facts["frames"], error)
    sink.close()
"""


def test_a_line_that_no_longer_fits_is_taken_back(tmp_path):
    path = tmp_path / "answers.jsonl"
    limit = 1000
    process = _python(_LIMITED, path, limit, Path(__file__).parent, "lines", 100)
    said, _ = process.communicate(timeout=60)
    kind, frames, words = said.strip().split(" ", 2)
    assert kind == "RunFailedError"
    assert words == f"cannot write to {path}: {os.strerror(errno.EFBIG)}"
    text = path.read_text()
    assert text.endswith("\n")
    numbers = [json.loads(line)["number"] for line in text.splitlines()]
    assert numbers == list(range(int(frames)))
    longest = max(len(line) for line in text.splitlines()) + 1
    assert limit - longest - 2 < len(text) <= limit


_ENDLESS_LINES = """
import sys
sys.path.insert(0, sys.argv[2])
from test_camera_sinks import _FACTS, _frame
from edgekit.onboard.camera.sinks import make_sink
sink = make_sink({"kind": "lines", "path": sys.argv[1]})
sink.open(_FACTS)
print("open", flush=True)
for number in range(10_000_000):
    sink.take(_frame(number, answers=[[number] * (number % 40)]))
"""


@pytest.mark.parametrize("turn", range(3))
def test_a_killed_run_leaves_whole_lines(turn, tmp_path):
    path = tmp_path / "answers.jsonl"
    process = _python(_ENDLESS_LINES, path, Path(__file__).parent)
    try:
        assert process.stdout.readline() == "open\n"
        while path.stat().st_size < 200_000 + turn * 77_777:
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    numbers = [json.loads(line)["number"] for line in whole.splitlines()]
    assert numbers == list(range(len(numbers)))
    # The kernel may be stopped between two pages of one write, and nowhere else.
    assert not rest or path.stat().st_size % resource.getpagesize() == 0


def test_lines_that_another_run_writes_are_not_touched(tmp_path):
    path = tmp_path / "answers.jsonl"
    first = make_sink({"kind": "lines", "path": str(path)})
    first.open(_FACTS)
    first.take(_frame(0))
    with pytest.raises(RunFailedError, match="another run does"):
        make_sink({"kind": "lines", "path": str(path)}).open(_FACTS)
    first.take(_frame(1))
    first.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]


def test_lines_do_not_wait_for_a_pipe_that_nobody_reads(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(RunFailedError, match=f"cannot write to {path}"):
        make_sink({"kind": "lines", "path": str(path)}).open(_FACTS)


# ---- boxes and pictures --------------------------------------------------------------------


def test_a_box_is_the_outline_that_opencv_draws():
    rgb = np.zeros((48, 64, 3), np.uint8)
    drawn = with_boxes(rgb, [[8, 4, 40, 30, 0.9, 0]])
    assert not rgb.any()
    expected = cv2.rectangle(rgb.copy(), (8, 4), (39, 29), (255, 64, 64), 1)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    "answers", [None, [], [[3, 0.9]], [["text", 0.5]], [[0, 0, float("nan"), 9, 1, 0]], [[]]]
)
def test_answers_that_are_no_boxes_leave_the_frame_itself(answers):
    rgb = _flat(3)
    assert with_boxes(rgb, answers) is rgb


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e12, 1e12), min_size=4, max_size=4), st.integers(-5, 100))
def test_any_box_is_drawn_within_itself_and_the_frame(corners, name):
    rgb = np.zeros((48, 64, 3), np.uint8)
    drawn = with_boxes(rgb, [[*corners, 0.5, name]])
    touched = np.argwhere(drawn.any(axis=2))
    x0, x1 = sorted((corners[0], corners[2]))
    y0, y1 = sorted((corners[1], corners[3]))
    for y, x in touched:
        assert x0 - 1 < x < x1 + 1
        assert y0 - 1 < y < y1 + 1


def test_a_line_is_thicker_on_a_larger_frame():
    drawn = with_boxes(np.zeros((1200, 1600, 3), np.uint8), [[100, 100, 900, 900, 1, 1]])
    assert np.flatnonzero(drawn[500].any(axis=1)).tolist() == [
        *range(100, 104),
        *range(896, 900),
    ]


def _without(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_libraries_pictures_are_png(monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        _without(context, "cv2", "PIL", "PIL.Image")
        _taken(make_sink({"kind": "images", "path": str(tmp_path)}), [_frame(4, answers=[])])
    assert _names(tmp_path) == ["frame-000000004.png"]
    picture = cv2.imread(str(tmp_path / "frame-000000004.png"))
    np.testing.assert_array_equal(picture[..., ::-1], _flat(4))


@pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="Pillow is not installed")
def test_pillow_makes_jpeg_where_opencv_is_missing(monkeypatch):
    with monkeypatch.context() as context:
        _without(context, "cv2")
        encoder = pictures.find_encoder()
        data = encoder.encode(_flat(9))
    assert encoder.format == "jpeg"
    assert np.abs(cv2.imdecode(np.frombuffer(data, np.uint8), 1).astype(int) - 45).max() <= 2


# ---- images --------------------------------------------------------------------------------


def test_images_hold_the_frames_with_their_boxes(tmp_path):
    folder = tmp_path / "pictures"
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[..., 0] = 200
    facts = _taken(
        make_sink({"kind": "images", "path": str(folder)}),
        [_frame(number, rgb, [[16, 16, 48, 40, 1, 1]]) for number in (0, 12)],
    )
    assert _names(folder) == ["frame-000000000.jpg", "frame-000000012.jpg"]
    assert facts["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    read = cv2.imread(str(folder / "frame-000000012.jpg"))[..., ::-1].astype(int)
    assert np.abs(read[4, 4] - [200, 0, 0]).max() < 12
    # A line of one pixel is blurred by JPEG's halved colours; its green is still plain.
    assert read[16, 24, 1] > 150
    assert read[4, 24, 1] < 60


def test_the_newest_images_are_kept_and_those_of_earlier_runs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(images.ImagesSink, "most", 4)
    for age, name in enumerate(
        ["frame-000000002.jpg", "frame-000000900.jpg", "frame-000000901.png"]
    ):
        (tmp_path / name).write_bytes(b"earlier")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    sink = make_sink({"kind": "images", "path": str(tmp_path)})
    sink.open(_FACTS)
    listings = []
    for number in range(5):
        sink.take(_frame(number))
        listings.append(sorted(re.findall(r"frame-0*(\d+)\.", " ".join(_names(tmp_path))), key=int))
    sink.close()
    assert listings == [
        ["0", "2", "900", "901"],
        ["0", "1", "900", "901"],
        ["0", "1", "2", "901"],
        ["0", "1", "2", "3"],
        ["1", "2", "3", "4"],
    ]
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"
    assert (tmp_path / "frame-000000002.jpg").read_bytes() != b"earlier"


def test_a_picture_that_no_longer_fits_leaves_no_half_of_it(tmp_path):
    process = _python(_LIMITED, tmp_path / "p", 100, Path(__file__).parent, "images", 3)
    said, _ = process.communicate(timeout=60)
    assert said == f"RunFailedError 0 cannot write to {tmp_path}/p: {os.strerror(errno.EFBIG)}\n"
    assert not list((tmp_path / "p").glob("frame-*"))


# ---- video ---------------------------------------------------------------------------------


def _read_video(path):
    """Grey levels in the middle, and times in ms, of all frames."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        done, picture = video.read()
        if not done:
            return frames
        height, width = picture.shape[:2]
        level = float(picture[height // 2, width // 2].mean())
        frames.append((level, video.get(cv2.CAP_PROP_POS_MSEC), (width, height)))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_a_video_has_every_frame_in_order(suffix, tmp_path):
    path = tmp_path / f"video.{suffix}"
    frames = [_frame(number, answers=[]) for number in range(40)]
    facts = _taken(make_sink({"kind": "video", "path": str(path)}), frames)
    read = _read_video(path)
    assert [size for _, _, size in read] == [(64, 48)] * 40
    assert np.abs([level - number * 5 for number, (level, _, _) in enumerate(read)]).max() <= 6
    assert [time for _, time, _ in read] == pytest.approx([n * 40.0 for n in range(40)], abs=1.1)
    assert facts["bytes"] == path.stat().st_size


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_a_killed_run_leaves_a_video_that_can_be_read(suffix, tmp_path):
    path = tmp_path / f"video.{suffix}"
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from test_camera_sinks import _FACTS, _frame
from edgekit.onboard.camera.sinks import make_sink
sink = make_sink({"kind": "video", "path": sys.argv[1]})
sink.open(_FACTS)
noise = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8)
while os.path.getsize(sys.argv[1]) < 300_000:
    sink.take(_frame(sink.facts["frames"], noise, []))
print(sink.facts["frames"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = _python(code, path, Path(__file__).parent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert int(said) / 4 < len(_read_video(path)) <= int(said)
    assert suffix != "mkv" or len(_read_video(path)) == int(said)


def test_a_frame_of_another_size_is_a_fault_of_its_own(tmp_path):
    path = tmp_path / "video.avi"
    sink = make_sink({"kind": "video", "path": str(path)})
    sink.open(_FACTS)
    sink.take(_frame(0))
    with pytest.raises(ValueError, match="frame 1 is of 32x24 pixels, the video of 64x48"):
        sink.take(_frame(1, _flat(1, 24, 32)))
    sink.take(_frame(2))
    sink.close()
    assert len(_read_video(path)) == sink.facts["frames"] == 2


@pytest.mark.parametrize(("suffix", "limit"), [("avi", 5000), ("avi", 20000), ("mp4", 5000)])
def test_a_video_that_opencv_could_not_write_to_its_end_is_told(suffix, limit, tmp_path):
    path = tmp_path / f"video.{suffix}"
    process = _python(
        _LIMITED, path, limit, Path(__file__).parent, "video", 300, stderr=subprocess.DEVNULL
    )
    said, _ = process.communicate(timeout=60)
    assert said.startswith(f"RunFailedError 300 the video at {path} is not whole")


def test_a_matroska_file_that_may_not_grow_keeps_its_whole_frames(tmp_path):
    path = tmp_path / "video.mkv"
    process = _python(_LIMITED, path, 20000, Path(__file__).parent, "video", 300)
    said, _ = process.communicate(timeout=60)
    kind, frames, words = said.strip().split(" ", 2)
    assert (kind, words) == (
        "RunFailedError",
        f"cannot write to {path}: {os.strerror(errno.EFBIG)}",
    )
    assert 10 < int(frames) == len(_read_video(path))
    assert path.stat().st_size < 20000  # the frame that did not fit was taken back


def test_a_video_ends_before_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    sink = make_sink({"kind": "video", "path": str(path)})
    sink.open(_FACTS)
    for number in range(32):
        sink.take(_frame(number))
    full = os.statvfs_result((4096, 4096, 1 << 30, 4095, 4095, 9, 9, 9, 0, 255))
    with monkeypatch.context() as context:
        context.setattr(os, "statvfs", lambda _: full)
        with pytest.raises(RunFailedError, match="less than 16 MiB are free there"):
            sink.take(_frame(32))
    sink.close()
    assert len(_read_video(path)) == 32


@pytest.mark.parametrize("maker", ["mkv", "gst"])
def test_frames_keep_the_times_of_their_capture(maker, tmp_path):
    path = tmp_path / "video.mkv"
    name = str(path)
    if maker == "gst":
        if shutil.which("gst-launch-1.0") is None:
            pytest.skip("gst-launch-1.0 is not installed (scripts/system-packages.sh camera)")
        name = f"gst:appsrc ! videoconvert ! jpegenc ! matroskamux ! filesink location={path}"
    times_ms = [0, 40, 130, 170, 1200]
    frames = [
        _frame(n, _flat(n * 9), [], 5_000_000_000 + ms * 1_000_000) for n, ms in enumerate(times_ms)
    ]
    assert _taken(make_sink({"kind": "video", "path": name}), frames)["frames"] == 5
    read = _read_video(path)
    assert [time for _, time, _ in read] == pytest.approx(times_ms, abs=0.6)
    assert np.abs([level - n * 45 for n, (level, _, _) in enumerate(read)]).max() <= 3


def test_a_video_of_an_unknown_kind_is_told_with_those_there_are(tmp_path):
    with pytest.raises(RunFailedError, match=r"must end in \.avi, \.mkv, \.mp4, or be a launch"):
        make_sink({"kind": "video", "path": f"{tmp_path}/video.gif"})


def test_a_video_that_opencv_cannot_begin_is_told_once(tmp_path):
    sink = make_sink({"kind": "video", "path": f"{tmp_path}/video.mp4"})
    sink.open(_FACTS)
    shutil.rmtree(tmp_path)
    with pytest.raises(RunFailedError, match=r"OpenCV .* writes no mp4v video of 64x48 pixels to"):
        sink.take(_frame(0))
    sink.close()


def test_a_first_frame_that_fails_does_not_cost_the_file_its_head(tmp_path):
    path = tmp_path / "video.mkv"
    sink = make_sink({"kind": "video", "path": str(path)})
    sink.open(_FACTS)
    with pytest.raises(Exception, match=r"cvtColor|JPEG"):
        sink.take(_frame(0, np.zeros((0, 0, 3), np.uint8), []))
    sink.take(_frame(1))
    sink.close()
    assert len(_read_video(path)) == 1


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_without_libraries_a_video_says_what_else_there_is(suffix, tmp_path, monkeypatch):
    sink = make_sink({"kind": "video", "path": f"{tmp_path}/video.{suffix}"})
    with monkeypatch.context() as context:
        _without(context, "cv2", "PIL", "PIL.Image")
        with pytest.raises(RunFailedError, match=r"OpenCV \(cv2\).*python3-opencv.*gst:appsrc"):
            sink.open(_FACTS)
    sink.close()


# ---- launch strings ------------------------------------------------------------------------


def _launch(text):
    return make_sink({"kind": "video", "path": f"gst:appsrc ! {text}"})


@pytest.mark.parametrize(
    "path", ["gst:", "gst:appsrc", "gst:filesrc ! fakesink", "gst:appsrc x=1 ! a"]
)
def test_a_launch_string_without_a_place_for_frames_is_refused(path):
    with pytest.raises(RunFailedError, match="does not begin with 'appsrc ! '"):
        make_sink({"kind": "video", "path": path})


def test_a_launch_string_with_an_open_quote_is_refused():
    with pytest.raises(RunFailedError, match="cannot read the launch string"):
        _launch("filesink location='x")


def test_without_gstreamer_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunFailedError, match=r"no gst-launch-1\.0.*gstreamer1\.0-tools"):
        _launch("fakesink").open(_FACTS)


@_needs_gstreamer
@pytest.mark.parametrize("width", [64, 63, 62, 61])
def test_gstreamer_is_given_the_very_pixels(width, tmp_path):
    rgb = np.random.RandomState(2).randint(0, 256, (48, width, 3)).astype(np.uint8)
    sink = _launch(f"pngenc snapshot=false ! multifilesink location={tmp_path}/%d.png")
    _taken(sink, [_frame(n, np.roll(rgb, n, 0), []) for n in range(3)])
    for n in range(3):
        read = cv2.imread(str(tmp_path / f"{n}.png"))[..., ::-1]
        np.testing.assert_array_equal(read, np.roll(rgb, n, 0))


@_needs_gstreamer
def test_gstreamer_serves_motion_jpeg_to_who_connects():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = _launch(
        "videoconvert ! jpegenc ! multipartmux boundary=frame ! "
        f"tcpserversink host=127.0.0.1 port={port}"
    )
    sink.open(_FACTS)
    got, stop = io.BytesIO(), threading.Event()

    def look():
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
                    while got.getvalue().count(b"--frame") < 3:
                        data = stream.recv(65536)
                        if not data:
                            return
                        got.write(data)
                    return
            except ConnectionRefusedError:
                stop.wait(0.02)

    viewer = threading.Thread(target=look)
    viewer.start()
    try:
        for number in range(3000):
            sink.take(_frame(number, _flat(20), []))
            if not viewer.is_alive():
                break
            stop.wait(0.01)
    finally:
        stop.set()
        sink.close()
        viewer.join()
    head, _, body = got.getvalue().split(b"--frame")[1].partition(b"\r\n\r\n")
    assert b"image/jpeg" in head
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    assert np.abs(picture.astype(int) - 100).max() <= 2


def _take_and_close(sink):
    """Whether a fault shows with the last frame or behind it is the pipeline's to choose."""
    try:
        for number in range(3):
            sink.take(_frame(number))
    finally:
        sink.close()


def _take_until_it_fails(sink):
    for number in range(2000):
        sink.take(_frame(number))


@_needs_gstreamer
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nosuchelement ! fakesink", 'ended with exit status 1: .*no element "nosuchelement"'),
        (
            "filesink location=/nowhere/video",
            "ended with exit status .*: ERROR: .*Could not open.*No such file",
        ),
        ("video/x-raw,format=I420 ! fakesink", "ended with exit status 1: ERROR: .*not-linked"),
    ],
)
def test_a_pipeline_that_dies_is_told_with_its_last_words(text, words):
    sink = _launch(text)
    sink.open(_FACTS)
    try:
        with pytest.raises(RunFailedError, match=rf"gst-launch-1\.0 {words}"):
            _take_until_it_fails(sink)
        with pytest.raises(RunFailedError, match="is not open"):
            sink.take(_frame(0))
    finally:
        sink.close()


@_needs_gstreamer
def test_a_pipeline_that_was_given_no_frame_ends_without_a_word():
    sink = _launch("fakesink")
    sink.open(_FACTS)
    process = sink._launched._process
    sink.close()
    assert process.returncode is not None


@_needs_gstreamer
def test_a_pipeline_that_is_killed_is_told():
    sink = _launch("fakesink")
    sink.open(_FACTS)
    sink.take(_frame(0))
    os.kill(sink._launched._process.pid, signal.SIGKILL)
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 ended by signal 9"):
        _take_until_it_fails(sink)
    sink.close()


@_needs_gstreamer
def test_a_pipeline_that_fails_at_its_end_is_told_on_closing():
    sink = _launch("identity error-after=3 ! fakesink")
    sink.open(_FACTS)
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 ended with exit status 1: ERROR: "):
        _take_and_close(sink)


_STALLED = "identity sleep-time=600000000 ! fakesink"


@_needs_gstreamer
def test_a_pipeline_that_takes_nothing_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(Launched, "stall_s", 0.5)
    sink = _launch(_STALLED)
    sink.open(_FACTS)
    process = sink._launched._process
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 has taken no data for 0\.5 s"):
        _take_until_it_fails(sink)
    sink.close()
    assert process.returncode == -signal.SIGKILL


@_needs_gstreamer
def test_a_pipeline_that_does_not_end_is_ended_on_closing(monkeypatch):
    monkeypatch.setattr(Launched, "end_s", 0.5)
    sink = _launch(_STALLED)
    sink.open(_FACTS)
    process = sink._launched._process
    sink.take(_frame(0))
    with pytest.raises(RunFailedError, match=r"did not end within 0\.5 s of the last frame"):
        sink.close()
    assert process.returncode == -signal.SIGKILL
    sink.close()


# ---- memory --------------------------------------------------------------------------------


@pytest.fixture
def ring(tmp_path):
    """The path of a ring; in shared memory, as it will be."""
    path = f"/dev/shm/edgekit-test-{os.getpid()}-{tmp_path.name}"
    yield path
    for left in Path("/dev/shm").glob(Path(path).name + "*"):
        left.unlink()


_frames = st.lists(
    st.tuples(
        st.integers(1, 48),
        st.integers(1, 64),
        st.lists(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6), max_size=5
        ),
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@settings(deadline=None, max_examples=40)
@given(_frames)
def test_a_reader_sees_the_newest_of_any_frames_once(taken):
    path = f"/dev/shm/edgekit-test-{os.getpid()}-any"
    sink = MemorySink(path)
    sink.open(_FACTS)
    reader = Reader(path)
    try:
        for index, (height, width, answers, at_ns, look) in enumerate(taken):
            rgb = np.random.RandomState(index).randint(0, 256, (height, width, 3)).astype(np.uint8)
            sink.take(_frame(index * 3, rgb, answers, at_ns))
            if look:
                seen = reader.read(0)
                assert (seen.index, seen.number) == (index, index * 3)
                assert (seen.captured_ns, seen.answers) == (at_ns, answers)
                np.testing.assert_array_equal(seen.rgb, rgb)
                assert reader.read(0) is None
    finally:
        sink.close()
        reader.close()


def test_a_reader_never_returns_a_frame_that_is_written_meanwhile(ring):
    sink = MemorySink(ring)
    sink.open(_FACTS)
    sink.take(_frame(0))
    reader = Reader(ring)
    whole = reader._fence
    turns = []

    def overtaken():
        """Between the reader's two looks at the lock, the writer begins the same slot anew."""
        whole()
        turns.append(1)
        if len(turns) == 3:
            for number in range(1, 5):
                sink.take(_frame(number))

    reader._fence = overtaken
    assert reader._newest() is None
    assert reader.read(0).number == 4
    lock = reader._layout.slot_at(4) // 4
    reader._next = 0
    sink._words[lock] += 1  # as a writer that died in the midst of it leaves it
    assert reader.read(0.01) is None
    sink.close()
    reader.close()


def test_a_slot_is_locked_from_before_its_first_byte_to_behind_its_last(ring):
    sink = MemorySink(ring)
    sink.open(_FACTS)
    for number in range(4):
        sink.take(_frame(number, answers=[]))
    reader = Reader(ring)
    fence, slot = sink._fence, sink._layout.slot_at(4)
    seen = []

    def look():
        """What a reader meets that was to read frame 0 while frame 4 takes its slot."""
        fence()
        sink._words[ring_layout.WRITTEN], reader._next = 1, 0
        newest = reader._newest()
        seen.append((sink._words[slot // 4], sink._memory[slot + 64], newest and newest.number))

    sink._fence = look
    sink.take(_frame(4, answers=[]))
    #                before a byte     all bytes       unlocked again
    assert seen == [(3, 0, None), (3, 20, None), (4, 20, 4)]
    sink.close()
    reader.close()


def test_a_reader_does_not_go_back_where_the_head_lags_behind_the_slot(ring):
    sink = MemorySink(ring)
    sink.open(_FACTS)
    for number in range(9):
        sink.take(_frame(number))
    reader = Reader(ring)
    sink._words[ring_layout.WRITTEN] = 5  # slot 0 has frame 8 already
    assert reader.read(0).number == 8
    sink._words[ring_layout.WRITTEN] = 8
    assert reader.read(0) is None
    sink._words[ring_layout.WRITTEN] = 9
    assert reader.read(0) is None
    sink.close()
    reader.close()


def test_the_count_of_frames_may_wrap(ring):
    sink = MemorySink(ring)
    sink.open(_FACTS)
    sink._written = 2**32 - 2
    reader = Reader(ring)
    reader._next = 2**32 - 2
    for number in range(5):
        sink.take(_frame(number))
        seen = reader.read(0)
        assert (seen.index, seen.number) == (2**32 - 2 + number, number)
    sink.close()
    reader.close()


# Every byte of a frame follows from its number: one of another frame shows.
_WRITER = """
import sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np
from test_camera_sinks import _frame
from edgekit.onboard.camera.sinks.memory import MemorySink
sink = MemorySink(sys.argv[1])
sink.open({"width": 320, "height": 240, "fps": 30.0})
print("open", flush=True)
frames = [np.full((240, 320, 3), level, np.uint8) for level in range(251)]
for number in range(int(sys.argv[3])):
    sink.take(_frame(number, frames[number % 251], [[number]] * (number % 17)))
sink.close()
"""


def _check(seen):
    assert seen.rgb.shape == (240, 320, 3)
    assert (seen.rgb == seen.number % 251).all()
    assert seen.answers == [[seen.number]] * (seen.number % 17)
    assert seen.captured_ns == 1_000_000_000 + seen.number * 40_000_000


class _Hesitant(Reader):
    """Stops now and then between two looks at the memory, so that the writer overtakes it."""

    def __init__(self, path):
        super().__init__(path)
        self.overtaken = 0
        self._whole, self._dice = self._fence, random.Random(7)
        self._fence = self._hesitate

    def _hesitate(self):
        self._whole()
        if self._dice.random() < 0.3:
            time.sleep(self._dice.random() * 0.003)

    def _newest(self):
        had_news = self._has_news()
        seen = super()._newest()
        self.overtaken += had_news and seen is None
        return seen


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "frames"), [(Reader, 3000), (_Hesitant, 600)])
def test_no_frame_is_torn_while_another_process_writes_as_fast_as_it_can(kind, frames, ring):
    process = _python(_WRITER, ring, Path(__file__).parent, 10_000_000)
    try:
        assert process.stdout.readline() == "open\n"
        reader = kind(ring)
        last = -1
        for _ in range(frames):
            seen = reader.read(60)
            _check(seen)
            assert seen.number > last
            last = seen.number
        assert reader.writer == "writing"
    finally:
        process.kill()
        process.communicate()
    rest = reader.read(60)
    if rest is not None:
        _check(rest)
    assert reader.read(60) is None
    assert reader.writer == "gone"
    # Else nothing was put to the test.
    assert kind is Reader or reader.overtaken > 100
    reader.close()


def test_a_reader_sees_the_last_frame_of_a_writer_that_closes(ring):
    process = _python(_WRITER, ring, Path(__file__).parent, 3000)
    assert process.stdout.readline() == "open\n"
    reader = Reader(ring)
    last = None
    while True:
        seen = reader.read(20)
        if seen is None:
            break
        _check(seen)
        last = seen
    process.communicate(timeout=60)
    assert (last.number, reader.writer) == (2999, "closed")
    reader.close()
    with pytest.raises(FileNotFoundError):
        Reader(ring)


def test_what_a_killed_run_left_is_replaced_and_a_living_one_is_not(ring):
    process = _python(_WRITER, ring, Path(__file__).parent, 10_000_000)
    try:
        assert process.stdout.readline() == "open\n"
        sink = MemorySink(ring)
        with pytest.raises(RunFailedError, match=f"cannot write to {ring}: another run does"):
            sink.open(_FACTS)
        sink.close()
        orphan = Reader(ring)
    finally:
        process.kill()
        process.communicate()
    assert orphan.writer == "gone"
    sink.open(_FACTS)
    sink.take(_frame(5))
    fresh = Reader(ring)
    assert (fresh.read(0).number, fresh.writer) == (5, "writing")
    assert orphan.writer == "gone"
    sink.close()
    assert not list(Path("/dev/shm").glob(Path(ring).name + "*"))
    orphan.close()
    fresh.close()


def test_of_two_runs_that_replace_the_same_remnant_one_is_told(ring, monkeypatch):
    Path(ring).write_bytes(ring_layout.head_of(ring_layout.layout_for(64, 48), 1))
    first, second = MemorySink(ring), MemorySink(ring)
    lock = fcntl.flock

    def overtaken(file, what):
        """The other run is quicker than this one's lock."""
        if what == fcntl.LOCK_EX | fcntl.LOCK_NB:
            monkeypatch.setattr(fcntl, "flock", lock)
            first.open(_FACTS)
        return lock(file, what)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with pytest.raises(RunFailedError, match="another run does"):
        second.open(_FACTS)
    first.take(_frame(1))
    reader = Reader(ring)
    assert (reader.read(0).number, reader.writer) == (1, "writing")
    reader.close()
    first.close()


def test_what_is_no_ring_is_neither_replaced_nor_read(tmp_path):
    path = tmp_path / "letter"
    path.write_text("dear aunt")
    with pytest.raises(RunFailedError, match="what stands there is no ring of frames"):
        MemorySink(str(path)).open(_FACTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter"]
    with pytest.raises(ValueError, match=f"cannot read {path}: it is no ring of frames"):
        Reader(str(path))
    head = ring_layout.head_of(ring_layout.layout_for(64, 48), 1)
    path.write_bytes(head[:8] + b"\2" + head[9:])
    with pytest.raises(ValueError, match="its version is 2, not 1"):
        Reader(str(path))
    path.write_bytes(head)
    with pytest.raises(ValueError, match="cannot read"):
        Reader(str(path))


def test_frames_and_answers_that_do_not_fit_are_faults_of_their_own(ring):
    sink = MemorySink(ring)
    sink.open(_FACTS)
    reader = Reader(ring)
    with pytest.raises(ValueError, match="the shared memory was made for"):
        sink.take(_frame(0, _flat(0, 49, 64)))
    with pytest.raises(ValueError, match="the shared memory was made for"):
        sink.take(_frame(1, answers=["x" * (128 << 10)]))
    assert reader.read(0) is None
    sink.take(_frame(2))
    assert reader.read(0).number == 2
    sink.close()
    reader.close()


def test_memory_that_is_not_to_be_had_is_told_before_the_first_frame(ring):
    sink = MemorySink(ring)
    with pytest.raises(RunFailedError, match=f"cannot write to {ring}: No space left on device"):
        sink.open({"width": 1 << 22, "height": 1 << 21})
    assert not Path(ring).exists()
    with pytest.raises(RunFailedError, match="does not tell its size"):
        sink.open({"width": 0, "height": 0})


@pytest.mark.slow
def test_the_program_in_the_documentation_reads_frames_written_here(ring, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    text = (_REPOSITORY / "docs" / "camera-sinks.md").read_text()
    (source,) = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    (tmp_path / "reader.c").write_text(source)
    program = tmp_path / "reader"
    command = [compiler, "-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program]
    subprocess.run([*command, tmp_path / "reader.c"], check=True)
    writer = _python(_WRITER, ring, Path(__file__).parent, 10_000_000)
    try:
        assert writer.stdout.readline() == "open\n"
        reader = subprocess.Popen([program, ring], stdout=subprocess.PIPE, text=True)
        lines = [reader.stdout.readline() for _ in range(2000)]
    finally:
        writer.kill()
        writer.communicate()
    rest, _ = reader.communicate(timeout=60)
    last = -1
    for line in lines:
        number, width, height, low, high, answers = line.split(" ", 5)
        assert int(number) > last
        last = int(number)
        assert (int(width), int(height)) == (320, 240)
        assert int(low) == int(high) == last % 251
        assert json.loads(answers) == [[last]] * (last % 17)
    assert rest.endswith("the writer is gone\n")
    assert reader.returncode == 0
