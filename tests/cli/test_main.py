import json
import re
import subprocess
import sys

import pytest

from edgekit.cli.main import root, run


def out_and_err(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_help_lists_every_verb_with_a_sentence(capsys):
    assert run(["--help"]) == 0
    out, _ = out_and_err(capsys)
    for verb in root.list_commands(None):
        line = next(line for line in out.splitlines() if line.startswith(f"  {verb} "))
        assert re.fullmatch(r"  [a-z]+ +[A-Z][^.`\"]{15,}\.", line)
        assert len(line) < 80


@pytest.mark.parametrize("verb", root.list_commands(None))
def test_every_verb_has_help(verb, capsys):
    assert run([verb, "--help"]) == 0
    assert "Usage: edgekit" in out_and_err(capsys)[0]


def test_unknown_verb_says_what_was_meant(capsys):
    assert run(["delpoy", "yolov5"]) == 2
    assert "deploy" in out_and_err(capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["targets", "rk3556"], ["rk3556", "rk3566"]),
        (["recipes", "yolo5"], ["yolo5", "yolov5"]),
        (["deploy", "yolo5", "--target", "local"], ["yolo5", "yolov5"]),
        (["deploy", "yolov5", "--target", "rk3556", "--device", "virtual"], ["rk3566"]),
        (["deploy", "yolov5", "--target", "rk3566"], ["--device", "virtual"]),
        (["deploy", "yolov5", "--target", "local", "--engine", "ncn"], ["ncnn"]),
        (["deploy", "yolov5", "--target", "local", "--size", "big"], ["big", "320"]),
        (["deploy", "yolov5", "--target", "local", "--goal", "fsp >= 1"], ["fsp", "fps"]),
        (["deploy", "./none.onnx", "--target", "local"], ["none.onnx"]),
        (["deploy", "yolov5", "--target", "rk3566", "--device", "pi"], ["pi", "devices add"]),
    ],
)
def test_wrong_input_is_one_clear_error_with_a_hint(
    arguments, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(arguments) == 2
    out, err = out_and_err(capsys)
    assert out == ""
    assert "Traceback" not in err
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]
    for word in words:
        assert word in err


def test_error_in_json_is_the_last_line(capsys):
    assert run(["targets", "rk3556", "--json"]) == 2
    fault = json.loads(out_and_err(capsys)[0].splitlines()[-1])["error"]
    assert fault["kind"] == "UnknownNameError"
    assert fault["exit_code"] == 2
    assert "rk3566" in fault["hint"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "interrupted; what was finished is kept for the next call"),
        (("given up; the moon is far",), "given up; the moon is far"),
    ],
)
def test_interrupt_says_what_becomes_of_what_was_done(capsys, monkeypatch, words, told):
    def interrupt():
        raise KeyboardInterrupt(*words)

    monkeypatch.setattr("edgekit.catalog.targets.target_names", interrupt)
    assert run(["targets"]) == 130
    assert out_and_err(capsys)[1].splitlines()[-1] == told
    assert run(["targets", "--json"]) == 130
    fault = json.loads(out_and_err(capsys)[0].splitlines()[-1])["error"]
    assert (fault["message"], fault["exit_code"]) == (told, 130)


def test_bug_is_said_to_be_one_and_leaves_a_log(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def break_down():
        raise ZeroDivisionError("the moon")

    monkeypatch.setattr("edgekit.catalog.targets.target_names", break_down)
    assert run(["targets"]) == 1
    _, err = out_and_err(capsys)
    assert "this is a bug in edgekit: ZeroDivisionError: the moon" in err
    (log,) = tmp_path.glob("edgekit-bug-*.log")
    assert "Traceback" in log.read_text()


def test_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m edgekit targets --json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], check=False, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("options", ["", "--json"])
def test_output_that_cannot_be_written_is_said_in_a_line(options):
    command = f"{sys.executable} -m edgekit targets {options} > /dev/full"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert "No space left on device" in done.stderr


def test_interrupt_in_a_module_that_loads_ends_with_the_exit_code_of_interrupts(tmp_path):
    # Where a dataclass is being made: its methods are text that is given to exec.
    (tmp_path / "interrupted.py").write_text(
        "import edgekit.cli.main\n"
        "from edgekit.__main__ import main\n"
        "def run(arguments):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "edgekit.cli.main.run = run\n"
        "main()\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 130
