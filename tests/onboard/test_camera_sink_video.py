"""Videos that a camera pipeline leaves, read back by OpenCV."""

import errno
import os
import shutil
import signal
import subprocess

import cv2
import numpy as np
import pytest
from camera_sinks import FACTS, LIMITED, TESTS, flat, frame_of, python, run_through, without

from edgekit.onboard.camera.sinks import make_sink
from edgekit.onboard.faults import RunFailedError


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
    frames = [frame_of(number, answers=[]) for number in range(40)]
    facts = run_through(make_sink({"kind": "video", "path": str(path)}), frames)
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
from camera_sinks import FACTS, frame_of
from edgekit.onboard.camera.sinks import make_sink
sink = make_sink({"kind": "video", "path": sys.argv[1]})
sink.open(FACTS)
noise = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8)
while os.path.getsize(sys.argv[1]) < 300_000:
    sink.take(frame_of(sink.facts["frames"], noise, []))
print(sink.facts["frames"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code, path, TESTS)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert int(said) / 4 < len(_read_video(path)) <= int(said)
    assert suffix != "mkv" or len(_read_video(path)) == int(said)


def test_a_frame_of_another_size_is_a_fault_of_its_own(tmp_path):
    path = tmp_path / "video.avi"
    sink = make_sink({"kind": "video", "path": str(path)})
    sink.open(FACTS)
    sink.take(frame_of(0))
    with pytest.raises(ValueError, match="frame 1 is of 32x24 pixels, the video of 64x48"):
        sink.take(frame_of(1, flat(1, 24, 32)))
    sink.take(frame_of(2))
    sink.close()
    assert len(_read_video(path)) == sink.facts["frames"] == 2


@pytest.mark.parametrize(("suffix", "limit"), [("avi", 5000), ("avi", 20000), ("mp4", 5000)])
def test_a_video_that_opencv_could_not_write_to_its_end_is_told(suffix, limit, tmp_path):
    path = tmp_path / f"video.{suffix}"
    process = python(LIMITED, path, limit, TESTS, "video", 300, stderr=subprocess.DEVNULL)
    said, _ = process.communicate(timeout=60)
    assert said.startswith(f"RunFailedError 300 the video at {path} is not whole")


def test_a_matroska_file_that_may_not_grow_keeps_its_whole_frames(tmp_path):
    path = tmp_path / "video.mkv"
    process = python(LIMITED, path, 20000, TESTS, "video", 300)
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
    sink.open(FACTS)
    for number in range(32):
        sink.take(frame_of(number))
    full = os.statvfs_result((4096, 4096, 1 << 30, 4095, 4095, 9, 9, 9, 0, 255))
    with monkeypatch.context() as context:
        context.setattr(os, "statvfs", lambda _: full)
        with pytest.raises(RunFailedError, match="less than 16 MiB are free there"):
            sink.take(frame_of(32))
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
        frame_of(n, flat(n * 9), [], 5_000_000_000 + ms * 1_000_000)
        for n, ms in enumerate(times_ms)
    ]
    assert run_through(make_sink({"kind": "video", "path": name}), frames)["frames"] == 5
    read = _read_video(path)
    assert [time for _, time, _ in read] == pytest.approx(times_ms, abs=0.6)
    assert np.abs([level - n * 45 for n, (level, _, _) in enumerate(read)]).max() <= 3


def test_a_video_of_an_unknown_kind_is_told_with_those_there_are(tmp_path):
    with pytest.raises(RunFailedError, match=r"must end in \.avi, \.mkv, \.mp4, or be a launch"):
        make_sink({"kind": "video", "path": f"{tmp_path}/video.gif"})


def test_a_video_that_opencv_cannot_begin_is_told_once(tmp_path):
    sink = make_sink({"kind": "video", "path": f"{tmp_path}/video.mp4"})
    sink.open(FACTS)
    shutil.rmtree(tmp_path)
    with pytest.raises(RunFailedError, match=r"OpenCV .* writes no mp4v video of 64x48 pixels to"):
        sink.take(frame_of(0))
    sink.close()


def test_a_first_frame_that_fails_does_not_cost_the_file_its_head(tmp_path):
    path = tmp_path / "video.mkv"
    sink = make_sink({"kind": "video", "path": str(path)})
    sink.open(FACTS)
    with pytest.raises(Exception, match=r"cvtColor|JPEG"):
        sink.take(frame_of(0, np.zeros((0, 0, 3), np.uint8), []))
    sink.take(frame_of(1))
    sink.close()
    assert len(_read_video(path)) == 1


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_without_libraries_a_video_says_what_else_there_is(suffix, tmp_path, monkeypatch):
    sink = make_sink({"kind": "video", "path": f"{tmp_path}/video.{suffix}"})
    with monkeypatch.context() as context:
        without(context, "cv2", "PIL", "PIL.Image")
        with pytest.raises(RunFailedError, match=r"OpenCV \(cv2\).*python3-opencv.*gst:appsrc"):
            sink.open(FACTS)
    sink.close()
