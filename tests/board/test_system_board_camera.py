"""``camera`` over SSH from a real driver's camera: the kernel's ``vivid``, on a system board."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trace_processor

from edgekit.board import user_mode
from edgekit.camera.record import read_record
from edgekit.core.camera import STAGES

pytestmark = [
    pytest.mark.board,
    pytest.mark.machine,
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.toolbox,
    pytest.mark.timeout(1200),
]

LIMIT_S = 180.0  # an emulated board beside other tests takes its time
PLUGGED_IN = "modprobe vivid n_devs=1 node_types=0x1 && chmod 666 /dev/video0"
# As long as a frame is held by somebody, so is the module.
PULLED_OUT = "for _ in $(seq 60); do modprobe -r vivid 2>/dev/null && exit; sleep 1; done; exit 1"
UNBOUND = "echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind"
# Who reads from it, and waits: the kernel lets nobody else.
HELD = "sh -c 'head -c 1 >&2; exec sleep 300' </dev/video0 >/dev/null 2>&1 & echo $!"
SMALL = ("--source", "/dev/video0", "--size", "320x180")
TRACK = "SELECT s.name, s.ts, s.dur FROM slice s JOIN track t ON t.id = s.track_id WHERE t.name = "


@dataclass(frozen=True)
class Profiled:
    """A run that was profiled for some seconds: what was printed, and what was left."""

    printed: str
    report: dict
    trace: Path

    @property
    def record(self):
        return read_record(Path(self.report["folder"]))


@pytest.fixture(scope="module")
def vivid(root_shell):
    """Plug the camera in for this file's tests; gives the root's shell."""
    root_shell(PLUGGED_IN)
    yield root_shell
    root_shell(PULLED_OUT)


@pytest.fixture(scope="module")
def command(system_board, vivid, tmp_path_factory):
    """Return the command line of ``edgekit camera``, and where and with what it runs."""
    folder = tmp_path_factory.mktemp("camera")
    own = {"EDGEKIT_RUNS_DIR": folder / "runs", "XDG_CONFIG_HOME": folder / "config"}
    where = ("--device", f"virtual:{system_board.name}", "--target", "rk3566")

    def words(kind, *more):
        return [sys.executable, "-m", "edgekit", "camera", kind, *more, *where]

    words.options = {
        "cwd": folder,
        "env": {**os.environ, **{name: str(value) for name, value in own.items()}},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    return words


@pytest.fixture(scope="module")
def profile(command):
    """Return the words that profile a net on the board; it has no cores for more threads."""
    model = ("shapes", "--engine", "ncnn", "--threads", "1")
    return lambda *more: command("profile", *model, *more)


@pytest.fixture(scope="module")
def profiled(command, profile):
    asked = ("--fps", "10", "--seconds", "8", "--trace", "camera.pftrace")
    done = finish(command, profile(*SMALL, *asked))
    assert done.returncode == 0, done.stderr
    folder = Path(re.search("^record: (.*)$", done.stdout, re.MULTILINE)[1])
    report = json.loads((folder / "report.json").read_text())
    return Profiled(done.stdout + done.stderr, report, command.options["cwd"] / "camera.pftrace")


def finish(command, words):
    return subprocess.run(words, check=False, timeout=600, **command.options)


class Running:
    """A command that runs, and the JSON lines that it prints."""

    def __init__(self, process):
        self.process = process
        self.heard = []
        self._lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def wait_for(self, what, wanted):
        """Return the next line that is wanted; fail with what was said where none comes."""
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"{what}: not within {LIMIT_S} s; last it said {self.heard[-8:]}")
            if line is None:
                said = self.process.stderr.read()
                pytest.fail(f"{what}: it ended before that, and said {self.heard[-8:]}, {said}")
            self.heard.append(line)
            if wanted(line):
                return line


@contextmanager
def started(command, words):
    with subprocess.Popen([*words, "--json"], **command.options) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def delivered(more_than):
    return lambda line: line.get("step") == "camera" and line.get("done", 0) > more_than


def note(begin):
    return lambda line: line.get("event") == "note" and line["text"].startswith(begin)


def unseen(sequence):
    """What the driver counted and nobody saw: how far its numbers are ahead of the frames.

    Under load vivid gives a number twice, and passes over another.
    """
    return max(0, (sequence - sequence[0] - np.arange(len(sequence))).max())


def test_camera_is_listed_with_what_it_offers(command):
    done = finish(command, [*command("list"), "--json"])
    assert done.returncode == 0, done.stderr
    (camera,) = json.loads(done.stdout.splitlines()[-1])["cameras"]
    assert (camera["path"], camera["driver"], camera["card"]) == ("/dev/video0", "vivid", "vivid")
    assert "YUYV 320x180 60, 50, 40, 30, 25, 15, 12.5, 10, 5, 4, 2, 1 fps" in camera["offered"]


def test_every_frame_is_accounted_for_and_no_time_is_claimed(profiled):
    report, record = profiled.report, profiled.record
    figures, source = report["figures"], report["source"]
    assert report["emulated"] is True
    assert (source["driver"], source["timestamps"]) == ("vivid", "capture")
    assert (source["width"], source["height"], source["fps"]) == (320, 180, 10)
    assert figures["delivered"] > 0
    dropped = sum(count for _stage, _cause, count in figures["dropped"])
    assert figures["captured"] == figures["delivered"] + dropped == record.frames
    assert figures["lost"] == unseen(record.sequence)
    assert (figures["away_s"], report["broken"], report["stopped"]) == (0, "", False)
    assert (figures["captured_fps"], figures["delivered_fps"], figures["latency"]) == (None,) * 3
    assert "emulated: correctness only" in profiled.printed
    # The one rate is what the camera was set to.
    assert re.findall(r"[\d.]+ fps|[\d.]+ ms|p50", profiled.printed) == ["10 fps"]


@pytest.mark.skipif(
    bool(trace_processor.missing()), reason=trace_processor.missing() or "it is there"
)
def test_trace_holds_a_slice_for_each_stage_of_each_delivered_frame(profiled):
    record = profiled.record
    arrived = record.end_stage == len(STAGES)
    assert arrived.sum() == profiled.report["figures"]["delivered"]
    with trace_processor.opened(profiled.trace) as query:
        assert query("SELECT name FROM stats WHERE severity != 'info' AND value != 0") == []
        for name in STAGES:
            times = record.stage(name)
            spans = times.start_ns[arrived], (times.end_ns - times.start_ns)[arrived]
            found = {
                row["name"]: (row["ts"], row["dur"])
                for row in query(f"{TRACK} '{name}' AND s.depth = 0")
            }
            wanted = [f"frame {number}" for number in record.number[arrived]]
            assert [found[each] for each in wanted] == list(zip(*spans, strict=True)), name


def test_camera_that_is_pulled_out_and_comes_back_is_waited_for_until_ctrl_c(
    command, profile, vivid
):
    with started(command, profile(*SMALL, "--fps", "5", "--seconds", "600")) as run:
        run.wait_for("frames", delivered(1))
        vivid(UNBOUND)
        run.wait_for("the loss", note("the source is gone"))
        vivid(PULLED_OUT)
        vivid(PLUGGED_IN)
        run.wait_for("the return", note("the source is back"))
        [*_, before] = (line["done"] for line in run.heard if "done" in line)
        run.wait_for("frames of its second life", delivered(before + 2))
        run.process.send_signal(signal.SIGINT)
        report = run.wait_for("its report", lambda line: "figures" in line)
        assert run.process.wait(60) == 0, run.process.stderr.read()
    figures, record = report["figures"], read_record(Path(report["folder"]))
    assert (report["stopped"], report["broken"]) == (True, "")
    (away,) = record.away
    assert away.why == "camera /dev/video0 is gone"
    assert figures["away_s"] == pytest.approx((away.to_ns - away.from_ns) / 1e9)
    after = record.arrived_ns > away.to_ns
    assert not np.any((record.arrived_ns > away.from_ns) & ~after)
    assert ((record.end_stage == len(STAGES)) & after).sum() > 2
    # It counts anew, and that is no loss.
    assert figures["lost"] == sum(unseen(record.sequence[life]) for life in (~after, after))
    dropped = sum(count for _stage, _cause, count in figures["dropped"])
    assert figures["captured"] == figures["delivered"] + dropped == record.frames
    assert Path(report["trace"]).exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            (*SMALL, "--format", "MJPG"),
            "camera /dev/video0 does not offer MJPG 320x180; it offers YUYV, UYVY",
        ),
        (
            ("--source", "/dev/video0", "--size", "641x480"),
            r"camera /dev/video0 does not offer 641x480; it offers .* 640x480 25, 15",
        ),
        (
            ("--source", "/dev/video7"),
            r"there is no camera /dev/video7; cameras here: /dev/video0 \(vivid\)$",
        ),
    ],
    ids=("format", "size", "name"),
)
def test_what_the_camera_cannot_do_is_one_clear_line(command, profile, asked, told):
    refused(finish(command, profile(*asked)), told)


def test_camera_that_somebody_else_reads_is_told_with_who_it_is(command, profile, system_board):
    user = user_mode.ssh_command(system_board.name)
    holder = subprocess.check_output([*user, HELD], text=True, timeout=120).strip()
    try:
        done = finish(command, profile(*SMALL))
    finally:
        subprocess.run([*user, "kill", holder], check=True, timeout=120)
    refused(done, rf"camera /dev/video0 is busy: it is held by sleep \(process {holder}\)$")


def refused(done, told):
    assert done.returncode == 3, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert re.search(told, errors[0]), errors
    assert "Traceback" not in done.stderr
