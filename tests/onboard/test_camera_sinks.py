"""What a camera pipeline's sinks have in common, and lines of JSON."""

import errno
import json
import os
import resource

import numpy as np
import pytest
from camera_sinks import BOX, FACTS, LIMITED, TESTS, frame_of, python, run_through

from edgekit.onboard.camera.sinks import KINDS, make_sink
from edgekit.onboard.faults import RunFailedError


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
    frames = [frame_of(number) for number in range(5)]
    before = [frame.rgb.copy() for frame in frames]
    for frame in frames:
        frame.rgb.flags.writeable = False
    facts = run_through(sink, frames)
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
        sink.open(FACTS)
    sink.close()


@pytest.mark.parametrize("kind", ["lines", "images", "video"])
def test_a_sink_that_needs_a_path_says_which(kind):
    with pytest.raises(RunFailedError, match=f"a sink of kind {kind} needs a path: of "):
        make_sink({"kind": kind, "path": ""})


@pytest.mark.parametrize("kind", ["lines", "images", "video", "memory"])
def test_a_frame_for_a_closed_sink_is_refused(kind, tmp_path):
    sink = make_sink({"kind": kind, "path": _path_for(kind, tmp_path)})
    with pytest.raises(RunFailedError, match="is not open"):
        sink.take(frame_of(0))


def test_an_unknown_kind_is_told_with_those_there_are():
    known = "images, lines, memory, none, video"
    with pytest.raises(RunFailedError, match=rf"no sink named printer \(it has: {known}\)"):
        make_sink({"kind": "printer", "path": ""})


def test_lines_hold_number_time_and_answers_of_each_frame(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("what an earlier run left\n")
    sink = make_sink({"kind": "lines", "path": str(path)})
    facts = run_through(
        sink, [frame_of(0), frame_of(7, answers=[["\u00fcber\n", 0.5]]), frame_of(8, answers=[])]
    )
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"number": 0, "captured_ns": 1_000_000_000, "answers": [BOX]},
        {"number": 7, "captured_ns": 1_280_000_000, "answers": [["\u00fcber\n", 0.5]]},
        {"number": 8, "captured_ns": 1_320_000_000, "answers": []},
    ]
    assert facts["bytes"] == path.stat().st_size


def test_a_line_is_handed_over_in_one_call(tmp_path, monkeypatch):
    sink = make_sink({"kind": "lines", "path": str(tmp_path / "answers.jsonl")})
    sink.open(FACTS)
    handed, write = [], os.write
    with monkeypatch.context() as context:
        context.setattr(os, "write", lambda file, data: handed.append(data) or write(file, data))
        sink.take(frame_of(0))
        sink.take(frame_of(1, answers=[[n] * 6 for n in range(3000)]))
    sink.close()
    assert [json.loads(line)["number"] for line in handed] == [0, 1]
    assert [line.count(b"\n") for line in handed] == [1, 1]


def test_an_answer_that_is_no_json_is_a_fault_of_its_frame_alone(tmp_path):
    path = tmp_path / "answers.jsonl"
    sink = make_sink({"kind": "lines", "path": str(path)})
    sink.open(FACTS)
    with pytest.raises(ValueError, match="JSON compliant"):
        sink.take(frame_of(0, answers=[[float("nan")]]))
    sink.take(frame_of(1))
    sink.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1]


def test_a_full_disk_is_told_in_the_systems_words():
    sink = make_sink({"kind": "lines", "path": "/dev/full"})
    sink.open(FACTS)
    with pytest.raises(RunFailedError, match="cannot write to /dev/full: No space left on device"):
        sink.take(frame_of(0))
    sink.close()
    assert sink.facts["frames"] == 0


def test_a_line_that_no_longer_fits_is_taken_back(tmp_path):
    path = tmp_path / "answers.jsonl"
    limit = 1000
    process = python(LIMITED, path, limit, TESTS, "lines", 100)
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
from camera_sinks import FACTS, frame_of
from edgekit.onboard.camera.sinks import make_sink
sink = make_sink({"kind": "lines", "path": sys.argv[1]})
sink.open(FACTS)
print("open", flush=True)
for number in range(10_000_000):
    sink.take(frame_of(number, answers=[[number] * (number % 40)]))
"""


@pytest.mark.parametrize("turn", range(3))
def test_a_killed_run_leaves_whole_lines(turn, tmp_path):
    path = tmp_path / "answers.jsonl"
    process = python(_ENDLESS_LINES, path, TESTS)
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
    first.open(FACTS)
    first.take(frame_of(0))
    with pytest.raises(RunFailedError, match="another run does"):
        make_sink({"kind": "lines", "path": str(path)}).open(FACTS)
    first.take(frame_of(1))
    first.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]


def test_lines_do_not_wait_for_a_pipe_that_nobody_reads(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(RunFailedError, match=f"cannot write to {path}"):
        make_sink({"kind": "lines", "path": str(path)}).open(FACTS)
