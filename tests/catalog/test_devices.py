import string
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.catalog.devices import (
    DeviceEntry,
    add_device,
    find_device,
    load_devices,
    remove_device,
)
from edgekit.core.errors import CatalogError, UnknownNameError, UsageError

BENCH = DeviceEntry(
    "bench-pi",
    "192.168.1.20",
    port=2222,
    user="pi",
    target="rpi4",
    identity_file=Path("/keys/id"),
    proxy_jump="admin@gate:22",
    note='the one with the "fan"',
)
HAND_WRITTEN = """# my boards

[first]   # the oldest
address = "first.lan"

# hums a little
["sec.ond"]
address = "second.lan"
port = 22

# the last
[third]
address = "third.lan"
"""


@pytest.fixture
def file(home):
    return home / ".config" / "edgekit" / "devices.toml"


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_inventory_is_empty_without_a_file(file):
    assert load_devices() == ()
    with pytest.raises(UnknownNameError):
        find_device("bench-pi")
    with pytest.raises(UnknownNameError):
        remove_device("bench-pi")
    assert not file.exists()


def test_add_device_is_read_back_whole(file):
    assert add_device(BENCH) == file
    assert load_devices() == (BENCH,)
    plain = DeviceEntry("rk.3566", "orange")
    add_device(plain)
    assert load_devices() == (BENCH, plain)
    assert find_device("rk.3566") == plain
    assert remove_device("bench-pi") == BENCH
    assert load_devices() == (plain,)


def test_add_device_refuses_a_taken_name_unless_replacing(file):
    add_device(BENCH)
    other = DeviceEntry("bench-pi", "elsewhere")
    with pytest.raises(UsageError, match="already"):
        add_device(other)
    assert load_devices() == (BENCH,)
    add_device(other, replace=True)
    assert load_devices() == (other,)


def test_changes_leave_other_entries_and_comments_as_they_are(file):
    write(file, HAND_WRITTEN)
    add_device(DeviceEntry("new", "new.lan"))
    assert file.read_text() == HAND_WRITTEN + '\n[new]\naddress = "new.lan"\n'
    remove_device("new")
    assert file.read_text() == HAND_WRITTEN.rstrip() + "\n\n"
    remove_device("sec.ond")
    left = file.read_text()
    assert "# my boards" in left
    assert "# the last\n[third]" in left
    assert "second" not in left
    assert [entry.name for entry in load_devices()] == ["first", "third"]


def test_changes_work_on_files_in_any_form_of_toml(file):
    write(file, 'first = { address = "a" }\nsecond.address = "b"\n[third]\naddress = "c"\n')
    remove_device("second")
    assert [entry.name for entry in load_devices()] == ["first", "third"]
    add_device(DeviceEntry("fourth", "d"))
    remove_device("first")
    assert [(e.name, e.address) for e in load_devices()] == [("third", "c"), ("fourth", "d")]


def test_wrong_inventory_is_told_and_never_overwritten(file):
    text = '[pi]\nadress = "x"\nport = 70000\n[Bad]\naddress = "y"\n[jump]\naddress = "-oX"\n'
    write(file, text)
    with pytest.raises(CatalogError) as caught:
        add_device(BENCH)
    message = caught.value.message
    for fault in (
        ":2: unknown key 'adress' in [pi]; did you mean 'address'?",
        ":1: key 'address' is missing in [pi]",
        ":4: 'Bad' cannot name a device",
        ":7: address '-oX' cannot be meant",
    ):
        assert fault in message
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("local", {}),
        ("virtual", {}),
        ("Big", {}),
        ("ok", {"address": ""}),
        ("ok", {"address": "two words"}),
        ("ok", {"user": "-l"}),
        ("ok", {"port": 0}),
        ("ok", {"proxy_jump": "-J"}),
    ],
)
def test_device_entry_refuses_what_can_be_no_device(name, values):
    with pytest.raises(UsageError):
        DeviceEntry(**{"name": name, "address": "host", **values})


def test_write_goes_through_a_symbolic_link_and_keeps_the_mode(file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text(HAND_WRITTEN)
    real.chmod(0o600)
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    add_device(BENCH)
    assert file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert "bench-pi" in real.read_text()


def test_many_processes_lose_no_entry(file):
    code = (
        "import sys; from edgekit.catalog.devices import *\n"
        "add_device(DeviceEntry(f'pi{sys.argv[1]}', 'host'))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(6)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 6
    assert sorted(entry.name for entry in load_devices()) == [f"pi{n}" for n in range(6)]


WORD = st.text(string.ascii_letters + string.digits + ":/@._", min_size=1, max_size=10)
ENTRIES = st.builds(
    DeviceEntry,
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True).filter(
        lambda name: name not in {"local", "virtual"}
    ),
    address=WORD,
    port=st.none() | st.integers(1, 65535),
    user=st.none() | WORD,
    note=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(entries=st.lists(ENTRIES, max_size=5, unique_by=lambda entry: entry.name), data=st.data())
def test_any_entries_are_read_back_after_any_removal(file, entries, data):
    file.unlink(missing_ok=True)
    for entry in entries:
        add_device(entry)
    assert load_devices() == tuple(entries)
    if entries:
        gone = data.draw(st.sampled_from(entries))
        remove_device(gone.name)
        assert load_devices() == tuple(entry for entry in entries if entry != gone)
        assert gone.name not in tomllib.loads(file.read_text("utf-8"))


def test_devices_file_setting_is_honoured(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_DEVICES_FILE", str(tmp_path / "mine.toml"))
    add_device(BENCH)
    assert (tmp_path / "mine.toml").is_file()
