"""What the library answers without a board: names, refusals, what is left of dead boards."""

import os
import shlex

import pytest

from edgekit.board import privilege, requirements, user_mode
from edgekit.board.process import ProcessMark, mark_process
from edgekit.board.requirements import Requirement
from edgekit.board.state import BoardState, write_state
from edgekit.catalog.targets import load_target
from edgekit.core.errors import DeviceError, UnknownNameError, UsageError


@pytest.fixture
def put_state(own_cache):
    """Write down a board as if it had been started as the given process."""

    def put(name: str, process: ProcessMark) -> None:
        folder = own_cache / "boards" / "instances" / name
        folder.mkdir(parents=True)
        write_state(folder, BoardState(name, "rk3566", 20022, "f" * 64, process))

    return put


def test_board_of_this_machine_itself_is_refused(own_cache):
    with pytest.raises(UsageError, match="x86_64"):
        user_mode.up(load_target("local"))


def test_board_name_outside_the_rule_is_refused(own_cache):
    with pytest.raises(UsageError, match="cannot name"):
        user_mode.up(load_target("rk3566"), name="../escape")
    with pytest.raises(UsageError, match="cannot name"):
        user_mode.down("../escape", wipe=True)


def test_unknown_board_says_what_was_meant(put_state):
    put_state("rk3566", mark_process(os.getpid()))
    for call in (user_mode.down, user_mode.find_board, user_mode.ssh_command):
        with pytest.raises(UnknownNameError) as raised:
            call("rk3568")
        assert "rk3566" in raised.value.hint


def test_ssh_command_trusts_only_what_edgekit_wrote(put_state, own_cache):
    put_state("bench", mark_process(os.getpid()))
    command = user_mode.ssh_command("bench")
    text = shlex.join(command)
    assert command[-3:] == ["-p", "20022", "edge@127.0.0.1"]
    assert "StrictHostKeyChecking=yes" in text
    assert str(own_cache / "boards" / "instances" / "bench" / "known_hosts") in text
    assert str(own_cache / "boards" / "keys" / "id_ed25519") in text


def test_board_of_a_former_boot_is_not_up_and_its_likeness_lives_on(put_state):
    alive = mark_process(os.getpid())
    put_state("old", ProcessMark(alive.pid, alive.start_ticks, "a former boot"))
    put_state("now", alive)
    assert [board.name for board in user_mode.list_boards()] == ["now"]
    with pytest.raises(DeviceError, match="not up"):
        user_mode.find_board("old")
    # Were it taken for the board, this very process would be killed.
    assert user_mode.down("old") is False


def test_name_in_use_by_another_kind_is_refused(put_state):
    put_state("bench", mark_process(os.getpid()))
    with pytest.raises(UsageError, match="is up as a rk3566"):
        user_mode.up(load_target("rk3399"), name="bench")


def test_missing_packages_are_named_with_the_command(own_cache, monkeypatch):
    monkeypatch.setattr(requirements, "SYSTEM_PATH", "/nowhere")
    missing = {entry.name for entry in requirements.requirements() if not entry.present}
    assert {"mmdebstrap", "qemu-user-static", "openssh-client"} <= missing
    with pytest.raises(DeviceError, match="mmdebstrap") as raised:
        user_mode.up(load_target("rk3566"))
    assert "apt-get install" in raised.value.hint


def test_handlers_count_only_if_they_work_inside_a_chroot(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "BINFMT", tmp_path)
    recorded = (
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: {}\noffset 0\n"
    )
    (tmp_path / "register").touch()
    (tmp_path / "qemu-aarch64").write_text(recorded.format("PF"))
    (tmp_path / "qemu-arm").write_text(recorded.format("P"))
    found = {entry.name: entry for entry in requirements.requirements()}
    assert found["binfmt_misc"].present
    assert found["binfmt qemu-aarch64"].present
    expected = Requirement("binfmt qemu-arm", False, "update-binfmts --enable qemu-arm")
    assert found["binfmt qemu-arm"] == expected


def test_no_way_to_root_says_how(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="needs root"):
        privilege.obtain("starting a board")
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\nexit 1\n")
    sudo.chmod(0o755)
    with pytest.raises(DeviceError, match="password") as raised:
        privilege.obtain("starting a board")
    assert "sudo -v" in raised.value.hint
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert privilege.obtain("x").run(["echo", "by sudo"]) == "by sudo\n"
