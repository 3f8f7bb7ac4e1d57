"""Video4Linux without a camera: layouts, what is offered, what is chosen, what goes wrong."""

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from edgekit.onboard.camera import v4l2_layouts, v4l2_offers
from edgekit.onboard.camera.frames import SourceLostError
from edgekit.onboard.camera.pixels import FORMATS
from edgekit.onboard.camera.sources.v4l2 import V4l2Source
from edgekit.onboard.faults import RunFailedError


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


# As Zig's C compiler lays them out for 32-bit ARM with glibc, from the kernel's own header.
ON_32_BITS = {
    "QUERYCAP": 0x80685600,
    "ENUM_FMT": 0xC0405602,
    "G_FMT": 0xC0CC5604,
    "S_FMT": 0xC0CC5605,
    "REQBUFS": 0xC0145608,
    "QUERYBUF": 0xC0445609,
    "QBUF": 0xC044560F,
    "DQBUF": 0xC0445611,
    "STREAMON": 0x40045612,
    "STREAMOFF": 0x40045613,
    "G_PARM": 0xC0CC5615,
    "S_PARM": 0xC0CC5616,
    "G_CTRL": 0xC008561B,
    "ENUM_FRAMESIZES": 0xC02C564A,
    "ENUM_FRAMEINTERVALS": 0xC034564B,
}


def test_layouts_on_32_bits_are_those_of_a_compiler_for_them():
    source = Path(v4l2_layouts.__file__).read_text()
    for wide, narrow in (("c_long", "c_int32"), ("c_ulong", "c_uint32"), ("c_void_p", "c_uint32")):
        source = re.sub(rf"\b{wide}\b", narrow, source)
    narrow = {}
    exec(compile(source, "v4l2_layouts", "exec"), narrow)
    assert {name: narrow[name] for name in ON_32_BITS} == ON_32_BITS
    assert narrow["Format"].picture.offset == 4
    assert narrow["Buffer"].where.offset == 52
    assert narrow["Buffer"].sequence.offset == 44


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
        (errno.EPIPE, "not linked to it; .*libcamerasrc"),
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
