"""``edgekit update``: what is refused before anything is sent, and what an outcome ends with."""

import json

import pytest

from edgekit.cli.main import run
from edgekit.flash.ab_update import Updated

DONE = Updated("confirmed", "2", "A", "B", 30.0, 40.0)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "system.raucb"
    path.write_bytes(b"hsqs")
    return path


def test_this_machine_is_not_updated(bundle, capsys):
    assert run(["update", str(bundle), "--device", "local"]) == 2
    assert "restarts a device behind SSH" in capsys.readouterr().err


def test_missing_bundle_is_told_before_a_connection(bundle, capsys):
    missing = bundle.with_name("none.raucb")
    assert run(["update", str(missing), "--device", "edge@nowhere.invalid"]) == 2
    assert "there is no update at" in capsys.readouterr().err


def test_confirmed_update_is_told_as_json(bundle, capsys, monkeypatch):
    monkeypatch.setattr("edgekit.app.ab_update.update", lambda *_: DONE)
    assert run(["update", str(bundle), "--device", "edge@nowhere.invalid", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["outcome"], told["version"], told["after"]) == ("confirmed", "2", "B")


def test_device_that_fell_back_ends_the_command_with_seven(bundle, capsys, monkeypatch):
    fell = Updated("fell-back", "2", "A", "A", 30.0, 40.0, "the new system did not start")
    monkeypatch.setattr("edgekit.app.ab_update.update", lambda *_: fell)
    assert run(["update", str(bundle), "--device", "edge@nowhere.invalid"]) == 7
    assert "the new system did not start" in capsys.readouterr().err
