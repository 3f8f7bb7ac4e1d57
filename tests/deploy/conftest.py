"""The command line run for real, with a device, a state and a configuration of the test's own.

The cache stays the user's: toolboxes and root file systems take minutes to make.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from board_shell import skip_without_boards

from edgekit.board import user_mode
from edgekit.cli.main import run


@dataclass(frozen=True)
class Finished:
    """A finished command: its exit code and its JSON lines."""

    code: int
    lines: list[dict]

    @property
    def result(self):
        return self.lines[-1]

    def judged(self):
        """Return the steps in which candidates were run to be judged."""
        steps = {line.get("step", "") for line in self.lines}
        return {step for step in steps if step.startswith(("compare:", "evaluate:"))}

    def turns(self):
        """Return how many turns all candidates together were to take before any took more."""
        told = (line for line in self.lines if line["event"] == "step_progress")
        return next(line["total"] for line in told if line["step"] == "measure")

    def rows(self):
        return {(row["engine"], row["precision"]): row for row in self.result["candidates"]}

    def running_rows(self):
        """Leave out what is not tuned, and Paddle Lite where the device's Python is too new."""

        def stays_out(row):
            return row["status"] == "skipped" or row["reason"].startswith("export only")

        return {key: row for key, row in self.rows().items() if not stays_out(row)}


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """Give the command a device root, run folder and inventory of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    # Tests run beside one another: what a busy machine measures is not what is tested here.
    monkeypatch.setenv("EDGEKIT_REPEAT_BUDGET_S", "0")
    monkeypatch.setenv("EDGEKIT_ACCEPT_INVALID", "true")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edgekit(own_state, capsys):
    """Run a command line with ``--json``; return what came of it."""

    def call(*arguments):
        code = run([*map(str, arguments), "--json"])
        out = capsys.readouterr().out
        return Finished(code, [json.loads(line) for line in out.splitlines()])

    return call


@pytest.fixture(scope="module")
def virtual_boards():
    """Have boards where this host can carry them; those that a file's tests start go down.

    Not so those that are named by a test: whoever made them, beside these, takes them down.
    """
    skip_without_boards()
    before = {board.name for board in user_mode.list_boards()}
    yield
    for board in user_mode.list_boards():
        if board.name not in before and not board.name.startswith("test-"):
            user_mode.down(board.name)


@pytest.fixture
def quiet(monkeypatch):
    """Take this machine for a quiet one: what is disturbed is not remembered."""
    monkeypatch.setattr("edgekit.app.entries.disturbance", lambda _latency: None)


@pytest.fixture
def refused(own_state, capsys):
    """Run a command line that must be refused with one error and a hint; return what it said."""

    def call(code, *arguments):
        found = run([*map(str, arguments)])
        err = capsys.readouterr().err
        assert found == code, err
        assert "Traceback" not in err
        said = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
        assert [line.split(":")[0] for line in said] == ["error", "hint"], err
        assert err.splitlines()[-1] == said[-1]
        return err

    return call


@pytest.fixture
def model_mirror():
    """The folder with the published models; tests that need them skip without it."""
    folders = [Path(part) for part in os.environ.get("EDGEKIT_MODEL_PATH", "").split(":") if part]
    for folder in folders:
        if (folder / "yolov5n.onnx").exists():
            return folder
    pytest.skip("no yolov5n.onnx in EDGEKIT_MODEL_PATH, and no network to fetch it from")
