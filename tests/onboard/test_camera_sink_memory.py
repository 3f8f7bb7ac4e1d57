"""Frames that other processes read out of shared memory."""

import fcntl
import json
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from camera_sinks import FACTS, REPOSITORY, TESTS, flat, frame_of, python
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.camera.sinks import ring as ring_layout
from edgekit.onboard.camera.sinks.memory import MemorySink, Reader
from edgekit.onboard.faults import RunFailedError


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
    sink.open(FACTS)
    reader = Reader(path)
    try:
        for index, (height, width, answers, at_ns, look) in enumerate(taken):
            rgb = np.random.RandomState(index).randint(0, 256, (height, width, 3)).astype(np.uint8)
            sink.take(frame_of(index * 3, rgb, answers, at_ns))
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
    sink.open(FACTS)
    sink.take(frame_of(0))
    reader = Reader(ring)
    whole = reader._fence
    turns = []

    def overtaken():
        """Between the reader's two looks at the lock, the writer begins the same slot anew."""
        whole()
        turns.append(1)
        if len(turns) == 3:
            for number in range(1, 5):
                sink.take(frame_of(number))

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
    sink.open(FACTS)
    for number in range(4):
        sink.take(frame_of(number, answers=[]))
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
    sink.take(frame_of(4, answers=[]))
    #                before a byte     all bytes       unlocked again
    assert seen == [(3, 0, None), (3, 20, None), (4, 20, 4)]
    sink.close()
    reader.close()


def test_a_reader_does_not_go_back_where_the_head_lags_behind_the_slot(ring):
    sink = MemorySink(ring)
    sink.open(FACTS)
    for number in range(9):
        sink.take(frame_of(number))
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
    sink.open(FACTS)
    sink._written = 2**32 - 2
    reader = Reader(ring)
    reader._next = 2**32 - 2
    for number in range(5):
        sink.take(frame_of(number))
        seen = reader.read(0)
        assert (seen.index, seen.number) == (2**32 - 2 + number, number)
    sink.close()
    reader.close()


# Every byte of a frame follows from its number: one of another frame shows.
_WRITER = """
import sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np
from camera_sinks import frame_of
from edgekit.onboard.camera.sinks.memory import MemorySink
sink = MemorySink(sys.argv[1])
sink.open({"width": 320, "height": 240, "fps": 30.0})
print("open", flush=True)
frames = [np.full((240, 320, 3), level, np.uint8) for level in range(251)]
for number in range(int(sys.argv[3])):
    sink.take(frame_of(number, frames[number % 251], [[number]] * (number % 17)))
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
    process = python(_WRITER, ring, TESTS, 10_000_000)
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
    process = python(_WRITER, ring, TESTS, 3000)
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
    process = python(_WRITER, ring, TESTS, 10_000_000)
    try:
        assert process.stdout.readline() == "open\n"
        sink = MemorySink(ring)
        with pytest.raises(RunFailedError, match=f"cannot write to {ring}: another run does"):
            sink.open(FACTS)
        sink.close()
        orphan = Reader(ring)
    finally:
        process.kill()
        process.communicate()
    assert orphan.writer == "gone"
    sink.open(FACTS)
    sink.take(frame_of(5))
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
            first.open(FACTS)
        return lock(file, what)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with pytest.raises(RunFailedError, match="another run does"):
        second.open(FACTS)
    first.take(frame_of(1))
    reader = Reader(ring)
    assert (reader.read(0).number, reader.writer) == (1, "writing")
    reader.close()
    first.close()


def test_what_is_no_ring_is_neither_replaced_nor_read(tmp_path):
    path = tmp_path / "letter"
    path.write_text("dear aunt")
    with pytest.raises(RunFailedError, match="what stands there is no ring of frames"):
        MemorySink(str(path)).open(FACTS)
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
    sink.open(FACTS)
    reader = Reader(ring)
    with pytest.raises(ValueError, match="the shared memory was made for"):
        sink.take(frame_of(0, flat(0, 49, 64)))
    with pytest.raises(ValueError, match="the shared memory was made for"):
        sink.take(frame_of(1, answers=["x" * (128 << 10)]))
    assert reader.read(0) is None
    sink.take(frame_of(2))
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
    text = (REPOSITORY / "docs" / "camera-sinks.md").read_text()
    (source,) = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    (tmp_path / "reader.c").write_text(source)
    program = tmp_path / "reader"
    command = [compiler, "-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program]
    subprocess.run([*command, tmp_path / "reader.c"], check=True)
    writer = python(_WRITER, ring, TESTS, 10_000_000)
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
