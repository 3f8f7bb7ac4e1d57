"""Builds: cached by content, and every way to fail is a BuildError with its words."""

import subprocess

import pytest

from edgekit.core.errors import BuildError
from edgekit.core.events import Note, StepFinished, ignore
from edgekit.toolbox.build import build

pytestmark = pytest.mark.toolbox

WRITE = "(job.output / 'model.bin').write_bytes(b'12345')"


def test_build_gives_files_with_hashes(engine, model, target):
    (file,) = build(engine(WRITE), model, "fp32", target, emit=ignore)
    assert file.path == "model.bin"
    assert file.size_bytes == 5
    assert file.source.read_bytes() == b"12345"
    assert len(file.sha256) == 64


def test_second_build_starts_no_process(engine, model, target, monkeypatch):
    made = build(engine(WRITE), model, "fp32", target, emit=ignore)
    monkeypatch.setattr(subprocess, "Popen", None)
    events = []
    assert build(engine(WRITE), model, "fp32", target, emit=events.append) == made
    assert events[-1] == StepFinished("build:onnxruntime:fp32", "cached")


def test_note_is_told_at_the_build_and_from_the_cache(engine, model, target):
    loud = engine(f"{WRITE}\njob.note('half of it is slow')")
    for _ in range(2):
        events = []
        build(loud, model, "fp32", target, emit=events.append)
        assert events[-1] == Note("half of it is slow")


def test_sources_for_the_board_are_given_and_decide(engine, model, target, tmp_path, monkeypatch):
    source = tmp_path / "cross" / "runners" / "onnxruntime" / "a.c"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    monkeypatch.setattr("edgekit.toolbox.build.builtin_folder", lambda name: tmp_path / name)
    body = "(job.output / 'm').write_bytes((job.sources / 'a.c').read_bytes())"
    (first,) = build(engine(body), model, "fp32", target, emit=ignore)
    assert first.source.read_bytes() == b"one"
    source.write_text("other")
    (second,) = build(engine(body), model, "fp32", target, emit=ignore)
    assert second.source.read_bytes() == b"other"


def test_frame_of_the_runners_decides_too(engine, model, target, tmp_path, monkeypatch):
    for name in ("onnxruntime/a.c", "frame/run.c"):
        source = tmp_path / "cross" / "runners" / name
        source.parent.mkdir(parents=True)
        source.write_text("one")
    monkeypatch.setattr("edgekit.toolbox.build.builtin_folder", lambda name: tmp_path / name)
    body = "(job.output / 'm').write_bytes((job.sources.parent / 'frame/run.c').read_bytes())"
    (first,) = build(engine(body), model, "fp32", target, emit=ignore)
    assert first.source.read_bytes() == b"one"
    source.write_text("other")
    (second,) = build(engine(body), model, "fp32", target, emit=ignore)
    assert second.source.read_bytes() == b"other"


@pytest.mark.parametrize("what", ["precision", "settings", "script"])
def test_build_of_something_else_is_another_build(engine, model, target, what):
    body = "(job.output / 'm').write_text(job.precision + str(job.settings))"
    first = build(engine(body), model, "fp32", target, emit=ignore)
    changed = engine(body + "  # changed" if what == "script" else body)
    changed.settings = '{"a":1}' if what == "settings" else "{}"
    precision = "fp16" if what == "precision" else "fp32"
    second = build(changed, model, precision, target, emit=ignore)
    assert first[0].source != second[0].source


def test_damaged_build_is_built_again(engine, model, target):
    (file,) = build(engine(WRITE), model, "fp32", target, emit=ignore)
    file.source.write_bytes(b"54321 and more")
    (again,) = build(engine(WRITE), model, "fp32", target, emit=ignore)
    assert again.source.read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('operator Wobble is unknown')", "operator Wobble is unknown"),
        ("pass", "left no file"),
        ("job.run(['false'])", "false ended with 1"),
        ("job.run(['sh', '-c', 'echo last words; kill -9 $$'])", "last words"),
        ("os.write(2, b'about to die\\n'); os.kill(os.getpid(), signal.SIGKILL)", "about to die"),
        ("import edgekit", "No module named 'edgekit'"),
    ],
)
def test_failed_build_says_why_and_leaves_nothing(engine, model, target, cache, body, words):
    events = []
    with pytest.raises(BuildError) as caught:
        build(engine(body), model, "fp32", target, emit=events.append)
    assert words in caught.value.message
    assert "onnxruntime fp32 could not be built from m" in caught.value.message
    assert str(cache / "logs") in caught.value.message + (caught.value.hint or "")
    assert events[-1] == StepFinished("build:onnxruntime:fp32", "failed", ok=False)
    folders = [item for item in (cache / "builds").iterdir() if not item.name.startswith(".")]
    assert folders == []


def test_build_that_takes_too_long_is_killed_with_its_children(engine, model, target, tmp_path):
    pid = tmp_path / "pid"
    body = f"job.run(['sh', '-c', 'echo $$ > {pid}; exec sleep 600'])"
    with pytest.raises(BuildError) as caught:
        build(engine(body), model, "fp32", target, emit=ignore, timeout_s=1.5)
    assert "longer than 1.5 s" in caught.value.message
    if pid.exists():
        status = subprocess.run(["ps", "-o", "stat=", "-p", pid.read_text().strip()],
                                capture_output=True, text=True, check=False).stdout  # fmt: skip
        assert status.strip()[:1] in {"", "Z"}


def test_unjudged_build_is_another_and_checks_nothing(engine, model, target):
    body = "(job.output / 'm').write_text(type(job).__name__)"
    (judged,) = build(engine(body), model, "fp32", target, emit=ignore)
    (unjudged,) = build(engine(body), model, "fp32", target, emit=ignore, judged=False)
    assert (judged.source.read_text(), unjudged.source.read_text()) == ("Job", "Unjudged")
