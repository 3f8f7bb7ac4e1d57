"""``edgekit board count``: how it is called, and how counts are shown."""

import json

import pytest

from edgekit.board.counts import InstructionCount, MemoryAccesses
from edgekit.cli.main import run
from edgekit.cli.views.counts import count_table


@pytest.fixture
def called(monkeypatch):
    """What the command asks the app for; a count stands in for the board's."""
    asked = []

    def count_on_board(name, command, **options):
        del options["emit"]
        asked.append((name, command, options))
        return InstructionCount(1234567, None, None, None)

    monkeypatch.setattr("edgekit.app.counting.count_on_board", count_on_board)
    return asked


def test_count_hands_command_and_environment_on(called, capsys):
    command = ["board", "count", "rk3566", "--env", "A=b=c", "--env", "D=", "--memory"]
    assert run([*command, "--json", "--", "ls", "--json", "-l"]) == 0
    expected = {"environment": {"A": "b=c", "D": ""}, "memory": True}
    assert called == [("rk3566", ("ls", "--json", "-l"), expected)]
    assert json.loads(capsys.readouterr().out)["instructions"] == 1234567


@pytest.mark.parametrize("text", ["A", "=b", ""])
def test_count_refuses_an_environment_that_is_none(called, capsys, text):
    assert run(["board", "count", "rk3566", "--env", text, "--", "ls"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert called == []


def test_count_wants_a_command_or_an_image(called, capsys, monkeypatch, tmp_path):
    asked = []

    def count_active(name, image, **options):
        asked.append((name, image, options["memory"]))
        return InstructionCount(7, None, None, None)

    monkeypatch.setattr("edgekit.app.counting.count_active", count_active)
    image = tmp_path / "photo.png"
    image.touch()
    assert run(["board", "count", "rk3566", "--image", str(image), "--memory"]) == 0
    assert asked == [("rk3566", image, True)]
    for wrong in ([], ["--image", str(image), "ls"], ["--image", str(image), "--env", "A=1"]):
        assert run(["board", "count", "rk3566", *wrong]) == 2
        assert "COMMAND" in capsys.readouterr().err
    assert len(asked) == 1
    assert called == []


def test_counts_are_shown_without_a_time_and_without_what_is_not_known():
    narrow = count_table(InstructionCount(1234567, None, None, None)).plain()
    assert [line.split() for line in narrow.splitlines()[1:]] == [["instructions", "1,234,567"]]
    full = count_table(InstructionCount(9, 1, 2, 3, MemoryAccesses(4, 5, 6, 7), 8)).plain()
    assert [line.split()[-1] for line in full.splitlines()[1:]] == list("912346578")
    assert "ms" not in full.replace("programs", "")
    assert "fps" not in full.lower()
