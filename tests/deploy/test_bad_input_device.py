"""Devices that cannot be reached, are not trusted, or are not what they are taken for."""

import platform
import shutil
import socket
import subprocess
import threading

import pytest
from sshd_fixture import make_key

DEPLOY = ("deploy", "shapes", "--target", "local")


@pytest.fixture
def address(own_home, own_state):
    """Give OpenSSH's configuration what it needs for a sshd; return what ``--device`` takes."""

    def configure(sshd, **changes):
        words = {"IdentityFile": sshd.identity, "UserKnownHostsFile": sshd.known_hosts, **changes}
        lines = [f"  {key} {value}\n" for key, value in words.items()]
        (own_home / ".ssh" / "config").write_text("".join(["Host 127.0.0.1\n", *lines]))
        return f"{sshd.user}@127.0.0.1:{sshd.port}"

    return configure


def nothing_installed(sshd):
    root = sshd.home / ".edgekit"
    return not any((root / folder).exists() and list((root / folder).iterdir())
                   for folder in ("store", "bundles", "generations", "partial"))  # fmt: skip


def test_port_where_nobody_listens_is_unreachable(refused, own_home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = refused(3, *DEPLOY, "--device", f"pi@127.0.0.1:{port}")
    assert f"127.0.0.1 port {port} refuses the connection" in said


def test_name_that_nothing_has_is_unreachable(refused, own_home):
    said = refused(3, "status", "--device", "pi@no-such-board.invalid")
    assert "no-such-board.invalid cannot be resolved" in said


def test_host_that_never_answers_times_out_as_set(refused, own_home, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CONNECT_TIMEOUT_S", "0.2")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        said = refused(3, "status", "--device", f"pi@127.0.0.1:{port}")
        for each in waiting:
            each.close()
    assert "no answer within 0.2 s" in said


def test_server_that_speaks_no_ssh_is_unreachable(refused, own_home):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as link:
                link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        said = refused(3, "status", "--device", f"pi@127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert "not as an SSH server should" in said


def test_refused_key_says_how_to_put_it_on_the_board(refused, sshd, address, tmp_path):
    make_key(tmp_path / "stranger")
    said = refused(
        3, *DEPLOY, "--device", address(sshd, IdentityFile=tmp_path / "stranger")
    )  # fmt: skip
    assert "refused every key" in said
    assert "ssh-copy-id" in said
    assert nothing_installed(sshd)


def test_unknown_host_key_asks_for_accept_new(refused, edgekit, sshd, address):
    sshd.known_hosts.write_text("")
    where = address(sshd)
    said = refused(3, "status", "--device", where)
    assert "is unknown" in said
    assert "--accept-new" in said
    assert edgekit("status", "--device", where, "--accept-new").code == 0
    assert edgekit("status", "--device", where).code == 0


def test_changed_host_key_is_refused_even_with_accept_new(refused, sshd, address, tmp_path):
    make_key(tmp_path / "other")
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    sshd.known_hosts.write_text(f"{sshd.known_as} {key}\n")
    said = refused(3, *DEPLOY, "--device", address(sshd), "--accept-new")
    assert "has changed" in said
    assert "ssh-keygen" in said
    assert sshd.known_hosts.read_text() == f"{sshd.known_as} {key}\n"
    assert nothing_installed(sshd)


def test_board_without_python_says_what_to_install(
    refused, make_sshd, address, tmp_path, monkeypatch
):
    from edgekit.device import bootstrap

    # This machine has Pythons in /usr/bin, where the agent would find them without PATH.
    on_path = " ".join(name for name in bootstrap._PYTHONS.split() if "/" not in name)
    monkeypatch.setattr(bootstrap, "_PYTHONS", on_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "mkdir", "head", "wc", "sync", "mv", "rm"):
        (tools / tool).symlink_to(shutil.which(tool))
    sshd = make_sshd(ForceCommand=f'env PATH={tools} {tools}/sh -c "$SSH_ORIGINAL_COMMAND"')
    said = refused(3, *DEPLOY, "--device", address(sshd))
    assert "has no Python 3" in said
    assert "apt-get install python3" in said
    assert not (sshd.home / ".edgekit").exists()


def test_account_that_may_run_nothing_says_how_to_see_that(refused, make_sshd, address):
    sshd = make_sshd(ForceCommand="echo This account is currently not available.; false")
    said = refused(3, *DEPLOY, "--device", address(sshd))
    assert "This account is currently not available." in said
    assert "ssh " in said


@pytest.mark.parametrize("target", ["rk3566", "rpi3-32"])
def test_board_of_another_kind_is_refused_before_anything_is_sent(refused, sshd, address, target):
    said = refused(3, "deploy", "shapes", "--target", target, "--device", address(sshd))
    assert target in said or "Raspberry" in said or "RK3566" in said
    if platform.machine() == "x86_64":
        assert "x86_64" in said
    assert "edgekit targets" in said
    assert nothing_installed(sshd)


def test_agent_folder_that_cannot_be_written_is_named(refused, sshd, address):
    (sshd.home / ".edgekit").write_text("mine")
    said = refused(3, *DEPLOY, "--device", address(sshd))
    assert f"cannot write to {sshd.home}/.edgekit" in said
    assert "EDGEKIT_DEVICE_ROOT" in said
    assert (sshd.home / ".edgekit").read_text() == "mine"


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """Mount a file system of 2 MB as the device's root."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_frames_that_do_not_fit_are_refused_before_they_are_sent(refused, edgekit, full_disk):
    one = ("--quick", "--engine", "onnxruntime", "--precision", "fp32", "--evaluate", "1")
    said = refused(3, *DEPLOY, *one, "--frames", "40")
    assert "free some space" in said
    assert "needed" in said
    assert not list((full_disk / "partial").iterdir())
    assert not list((full_disk / "store").iterdir())
    status = edgekit("status", "--device", "local")
    assert status.code == 0
    assert status.result["current"] is None


def test_disk_without_room_for_the_agent_is_said(refused, full_disk):
    (full_disk / "other").write_bytes(bytes(2 << 20))
    said = refused(3, *DEPLOY)
    assert "no room" in said or "no space" in said
