"""Rooms import only downwards, siblings never."""

from pathlib import Path


def test_import_contracts_hold(run_tool):
    done = run_tool("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_stands_in_a_contract(root):
    contracts = (root / "pyproject.toml").read_text(encoding="utf-8")
    rooms = sorted(init.parent.name for init in Path(root / "edgekit").glob("*/__init__.py"))
    assert rooms
    missing = [room for room in rooms if f"edgekit.{room}" not in contracts]
    assert not missing, f"no import contract in pyproject.toml names {missing}"
