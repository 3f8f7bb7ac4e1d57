"""Cameras of Video4Linux on a real kernel: its own virtual driver ``vivid``, on a system board.

The board's Python has no NumPy: down to here a camera needs none.
"""

import json
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from board_shell import carry

import edgekit
from edgekit.board import system_mode

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

BEGIN = """
import fcntl, json, os, select, struct, subprocess, sys, time
sys.path.insert(0, os.path.expanduser("~edge"))
from edgekit.onboard.camera.frames import SourceLostError
from edgekit.onboard.camera.sources import make_source
from edgekit.onboard.faults import RunFailedError

def source(**values):
    return make_source(dict(kind="v4l2", name="/dev/video0", width=320, height=180, **values))

def read(camera):
    frame = None
    while frame is None:
        frame = camera.read(2)
    return frame

def fault(call, *arguments):
    try:
        call(*arguments)
    except (RunFailedError, SourceLostError) as error:
        return [type(error).__name__, str(error)]

def number(way, code, size):
    return way << 30 | size << 16 | ord("V") << 8 | code

# By name, as vivid calls them: VIDIOC_QUERYCTRL with V4L2_CTRL_FLAG_NEXT_CTRL, VIDIOC_S_CTRL.
def control(name, value):
    file = os.open("/dev/video0", os.O_RDWR)
    code = 0
    while True:
        asked = bytearray(struct.pack("I", code | 1 << 31).ljust(68, b"\\0"))
        fcntl.ioctl(file, number(3, 36, 68), asked)
        code = struct.unpack_from("I", asked)[0]
        if asked[8:40].split(b"\\0")[0].decode() == name:
            break
    fcntl.ioctl(file, number(3, 28, 8), struct.pack("Ii", code, value))
    os.close(file)

def driver(what):
    with open("/sys/bus/platform/drivers/vivid/" + what, "w") as file:
        file.write("vivid.0")
"""

HUNDRED = """
control("Timestamp Source", 1)
camera = source(fps=30, format="YUYV")
camera.open()
told = []
for _ in range(100):
    frame = read(camera)
    told.append([frame.sequence, frame.captured_ns, frame.arrived_ns, len(frame.data),
                 bytes(frame.data[:4]).hex(), frame.corrupt, frame.stride])
    frame.release()
camera.close()
print(json.dumps({"facts": camera.facts, "frames": told, "numpy": "numpy" in sys.modules}))
"""

REFUSED = """
camera = source(format="NV12")
camera.open()
other = subprocess.run([sys.executable, "-c", os.environ["OTHER"]], stdout=subprocess.PIPE)
camera.close()
print(json.dumps({
    "busy": json.loads(other.stdout.decode()), "pid": os.getpid(),
    "size": fault(make_source(dict(kind="v4l2", name="/dev/video0", width=641, height=480)).open),
    "format": fault(source(format="MJPG").open),
    "unread": fault(source(format="HM12").open),
    "absent": fault(make_source(dict(kind="v4l2", name="/dev/video7")).open),
    "first": fault(make_source(dict(kind="v4l2", name="")).open),
}))
"""

HELD = """
camera = source(fps=30)
camera.open()
held = [read(camera)]
while True:
    frame = camera.read(0.5)
    if frame is None:
        break
    held.append(frame)
first = bytes(held[0].data[:4]).hex()
for frame in held:
    frame.release()
    frame.release()
after = [read(camera) for _ in range(2)]
control("Inject V4L2_BUF_FLAG_ERROR", 1)
flags = []
for _ in range(10):
    frame = read(camera)
    flags.append(frame.corrupt)
    frame.release()
camera.close()
kept = bytes(after[0].data[:4]).hex()
camera.open()  # while frames of before are held
read(camera).release()
for frame in after:
    frame.release()
camera.close()
print(json.dumps({"held": [frame.sequence for frame in held], "first": first, "kept": kept,
                  "after": [frame.sequence for frame in after], "flags": flags}))
"""

UNPLUGGED = """
def until_lost(camera):
    for _ in range(200):
        frame = camera.read(1)
        if frame is not None:
            frame.release()

told = {}
camera = source(fps=30)
camera.open()
held = read(camera)
control("Disconnect", 1)
told["lost"] = fault(until_lost, camera)
camera.close()
told["away"] = fault(camera.open)
told["kept"] = bytes(held.data[:4]).hex()
held.release()
driver("unbind")
told["gone"] = fault(camera.open)
driver("bind")
camera.open()
frame = read(camera)  # by holding it the name stays taken
told["back"] = [camera.facts["name"], frame.sequence]
driver("unbind")
told["lost again"] = fault(until_lost, camera)
camera.close()
driver("bind")
camera.open()
again = read(camera)
told["back again"] = [camera.facts["name"], again.sequence]
frame.release()
again.release()
camera.close()
print(json.dumps(told))
"""

PLANES = """
camera = source(fps=30, format="NV12")
camera.open()
frames = [read(camera) for _ in range(3)]
told = [[frame.sequence, frame.format, frame.stride, len(frame.data), frame.data[0]]
        for frame in frames]
for frame in frames:
    frame.release()
told.append(read(camera).sequence)
camera.close()
print(json.dumps(told))
"""

ANY_SIZE = """
file = os.open("/dev/video0", os.O_RDWR)
fcntl.ioctl(file, number(3, 39, 4), struct.pack("i", 3))  # VIDIOC_S_INPUT: HDMI has a scaler
os.close(file)
camera = make_source(dict(kind="v4l2", name="/dev/video0", width=400, height=222, format="YUYV"))
camera.open()
frame = read(camera)
print(json.dumps({"facts": camera.facts, "size": frame[2:5], "bytes": len(frame.data)}))
camera.close()
"""


@pytest.fixture
def plug_in(system_board, as_root):
    """Load the camera's driver with options; gives what runs Python beside it, as root."""
    carry(system_board, Path(edgekit.__file__).parent / "onboard", "edgekit/onboard")
    root = system_mode.ssh_command(system_board.name, as_root=True)

    def load(options=""):
        as_root(f"modprobe vivid n_devs=1 node_types=0x1 {options}")

        def there(script, variables=""):
            done = subprocess.run(
                [*root, f"{variables} python3 -B -X faulthandler -"],
                input=(BEGIN + script).encode(),
                capture_output=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return json.loads(done.stdout)

        return there

    yield load
    as_root("rmmod vivid")


def in_order(counted):
    """Whether no number, or stamp, is less than the one before.

    vivid gives a number twice, and its stamp with it, where making a picture takes it more than
    half a frame's time: it wakes up too early then, and reckons both from the clock.
    """
    return all(before <= after for before, after in pairwise(counted))


def test_hundred_frames_come_with_the_drivers_own_stamps(plug_in):
    found = plug_in()(HUNDRED)
    facts = found["facts"]
    assert not found["numpy"]
    assert (facts["driver"], facts["card"], facts["kind"]) == ("vivid", "vivid", "v4l2")
    assert (facts["format"], facts["width"], facts["height"], facts["fps"]) == (
        "YUYV",
        320,
        180,
        30,
    )
    assert (facts["timestamps"], facts["stamped_at"]) == ("capture", "start of exposure")
    assert "exposure_ns" not in facts  # vivid has no such control
    assert "YUYV 320x180 60, 50, 40, 30, 25, 15, 12.5, 10, 5, 4, 2, 1 fps" in facts["offered"]
    sequences, captured, arrived, sizes, starts, corrupt, strides = zip(
        *found["frames"], strict=True
    )
    assert in_order(sequences)
    assert in_order(captured)
    numbers, stamps = len(set(sequences)), len(set(captured))
    # A stamp from the future is cut to the arrival, and stands whole where it comes again.
    assert 1 < numbers <= stamps <= numbers + facts.get("stamps_ahead", 0)
    assert all(taken <= there for taken, there in zip(captured, arrived, strict=True))
    assert (set(sizes), set(strides), set(corrupt)) == ({320 * 180 * 2}, {640}, {False})
    assert set(starts) == {"b380b380"}  # the first bar: grey of 75 %, Y 180 and no chroma
    # The stamps are the camera's beat, however late the frames came.
    beat = (captured[-1] - captured[0]) / (sequences[-1] - sequences[0])
    assert beat == pytest.approx(1e9 / 30, rel=0.1)


def test_camera_that_cannot_be_used_as_asked_says_why(plug_in, as_root, system_board):
    there = plug_in()
    other = f"{BEGIN}\nprint(json.dumps(fault(source().open)))"
    found = there(REFUSED, f"OTHER={shlex.quote(other)}")
    assert found["busy"] == [
        "RunFailedError",
        f"camera /dev/video0 is busy: it is held by python3 (process {found['pid']})",
    ]
    kind, words = found["size"]
    assert kind == "RunFailedError"
    assert "does not offer 641x480; it offers YUYV, UYVY" in words
    assert "320x180 60, 50, 40, 30" in words
    assert "does not offer MJPG 320x180; it offers YUYV" in found["format"][1]
    assert "format HM12 cannot be read" in found["unread"][1]
    assert found["absent"] == [
        "RunFailedError",
        "there is no camera /dev/video7; cameras here: /dev/video0 (vivid)",
    ]
    assert found["first"] is None  # the first camera that there is
    run = carry(system_board, Path(edgekit.__file__).parent / "onboard", "edgekit/onboard")
    script = f"{BEGIN}\nprint(json.dumps(fault(source().open)))"
    refused = json.loads(run("python3 -B -", input=script.encode()))
    assert refused[0] == "RunFailedError"
    assert "/dev/video0 may not be opened; its user must be in group video" in refused[1]


def test_buffers_are_lent_and_errors_are_marked(plug_in):
    found = plug_in()(HELD)
    assert len(found["held"]) == 6  # then it waits for a reader to give one back
    assert found["first"] == found["kept"] == "b380b380"
    assert found["after"][0] > found["held"][-1] + 1  # lost meanwhile, and its sequence says so
    assert found["flags"].count(True) == 1


def test_unplugged_camera_is_lost_and_comes_back(plug_in):
    found = plug_in()(UNPLUGGED)
    gone = ["SourceLostError", "camera /dev/video0 is gone"]
    assert found["lost"] == found["lost again"] == gone
    assert found["away"][0] == found["gone"][0] == "SourceLostError"
    assert "is not back" in found["gone"][1]
    assert found["kept"] == "b380b380"  # what was on its way stays readable
    assert found["back"][0] == "/dev/video0"
    assert found["back again"][0] == "/dev/video1"  # under another name, and found by its place
    assert max(found["back"][1], found["back again"][1]) < 60  # counted anew


def test_driver_with_planes_of_their_own_memory_gives_frames(plug_in):
    *frames, last = plug_in("multiplanar=2")(PLANES)
    assert in_order([*(frame[0] for frame in frames), last])
    for frame in frames:
        assert frame[1:] == ["NV12", 320, 320 * 180 * 3 // 2, 0xB3]


def test_camera_of_any_size_tells_its_bounds(plug_in):
    found = plug_in()(ANY_SIZE)
    assert found["size"] == [400, 222, 800]
    assert found["bytes"] == 800 * 222
    assert any(offer.startswith("YUYV ") and ".." in offer for offer in found["facts"]["offered"])
