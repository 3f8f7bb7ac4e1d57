"""Keys and agents: who is let in, and what is said where nobody is."""

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import replace

import pytest
from sshd_fixture import make_key

from edgekit.core.errors import AuthenticationError, UnreachableError
from edgekit.device.address import SshAddress
from edgekit.device.ssh import SshTransport


def connect(address, **options):
    SshTransport(address, **options).close()


@pytest.fixture
def agent(own_home, tmp_path, monkeypatch):
    """Start an ssh-agent; return a function that adds a key to it."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    for _ in range(200):
        if path.exists():
            break
        signal.sigtimedwait([], 0.02)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

    def add(key, passphrase=""):
        ask = tmp_path / "askpass"
        ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
        ask.chmod(0o700)
        subprocess.run(
            ["ssh-add", "-q", str(key)],
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
        )

    yield add
    process.terminate()
    process.wait()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_key_file_of_each_kind_is_taken(sshd, own_home, kind):
    key = own_home / "key"
    make_key(key, kind=kind)
    shutil.copy(f"{key}.pub", sshd.authorized_keys)
    connect(replace(sshd.address, identity_file=key))


def test_default_key_of_openssh_is_found(sshd, own_home):
    shutil.copy(sshd.identity, own_home / ".ssh" / "id_ed25519")
    connect(replace(sshd.address, identity_file=None))


def test_refused_key_lists_what_was_tried(sshd, own_home):
    key = own_home / "stranger"
    make_key(key)
    make_key(own_home / ".ssh" / "id_rsa", kind="rsa")
    with pytest.raises(AuthenticationError, match="refused every key") as caught:
        connect(replace(sshd.address, identity_file=key))
    assert f"{key} (ssh-ed25519): refused" in caught.value.message
    assert f"{own_home}/.ssh/id_rsa (ssh-rsa): refused" in caught.value.message
    assert f"ssh-copy-id -p {sshd.port} {sshd.user}@127.0.0.1" in caught.value.hint


def test_no_key_at_all_is_said(sshd, own_home):
    with pytest.raises(AuthenticationError, match="no key was found"):
        connect(replace(sshd.address, identity_file=None))


def test_missing_key_file_is_said(sshd, own_home):
    with pytest.raises(AuthenticationError, match=r"absent: cannot be read.*No such file"):
        connect(replace(sshd.address, identity_file=own_home / "absent"))


def test_file_that_is_no_key_is_said(sshd, own_home):
    (own_home / "junk").write_text("hello\n")
    with pytest.raises(AuthenticationError, match="junk: cannot be read"):
        connect(replace(sshd.address, identity_file=own_home / "junk"))


def test_locked_key_without_agent_is_said(sshd, own_home):
    key = own_home / "locked"
    make_key(key, passphrase="secret")
    shutil.copy(f"{key}.pub", sshd.authorized_keys)
    with pytest.raises(AuthenticationError, match="locked by a passphrase") as caught:
        connect(replace(sshd.address, identity_file=key))
    assert caught.value.hint == f"unlock it first: ssh-add {key}"


def test_locked_key_that_the_agent_holds_is_taken(sshd, own_home, agent):
    key = own_home / "locked"
    make_key(key, passphrase="secret")
    shutil.copy(f"{key}.pub", sshd.authorized_keys)
    agent(key, "secret")
    connect(replace(sshd.address, identity_file=key))


def test_agent_alone_is_enough(sshd, agent):
    agent(sshd.identity)
    connect(replace(sshd.address, identity_file=None))


def test_chosen_key_goes_before_the_agents(sshd, own_home, agent):
    # sshd hangs up after six failures: seven strangers in front would shut the door.
    for number in range(7):
        make_key(own_home / f"stranger{number}")
        agent(own_home / f"stranger{number}")
    connect(sshd.address)


def test_too_many_keys_names_the_remedy(sshd, own_home, agent):
    for number in range(7):
        make_key(own_home / f"stranger{number}")
        agent(own_home / f"stranger{number}")
    with pytest.raises(AuthenticationError, match="hung up after") as caught:
        connect(replace(sshd.address, identity_file=None))
    assert "IdentitiesOnly" in caught.value.hint


def test_identities_only_keeps_the_agents_keys_back(sshd, own_home, agent):
    agent(sshd.identity)
    (own_home / ".ssh" / "config").write_text("IdentitiesOnly yes\n")
    with pytest.raises(AuthenticationError, match="no key was found"):
        connect(replace(sshd.address, identity_file=None))


def test_identity_agent_none_does_without_the_agent(sshd, own_home, agent):
    agent(sshd.identity)
    (own_home / ".ssh" / "config").write_text("IdentityAgent none\n")
    with pytest.raises(AuthenticationError):
        connect(replace(sshd.address, identity_file=None))


def test_agent_socket_without_agent_does_not_stop_a_key_file(sshd, own_home, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", str(own_home / "nobody"))
    connect(sshd.address)


def test_host_that_takes_no_keys_is_said(make_sshd, own_home):
    sshd = make_sshd(PubkeyAuthentication="no", PasswordAuthentication="yes")
    with pytest.raises(AuthenticationError, match="takes no keys, only password"):
        connect(sshd.address)


def test_second_factor_is_said(make_sshd, own_home):
    sshd = make_sshd(AuthenticationMethods="publickey,password", PasswordAuthentication="yes")
    with pytest.raises(AuthenticationError, match="wants password as well"):
        connect(sshd.address)


def test_refused_connection_is_told_apart(own_home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UnreachableError, match="refuses the connection"):
        connect(SshAddress("127.0.0.1", port=port))


def test_unresolved_name_is_told_apart(own_home):
    with pytest.raises(UnreachableError, match="cannot be resolved"):
        connect(SshAddress("no-such-board.invalid"))


def test_timeout_is_told_apart(own_home):
    # A backlog that is full lets no further connection come about.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(place)
        address = SshAddress("127.0.0.1", port=place[1], connect_timeout_s=0.5)
        with pytest.raises(UnreachableError, match=r"no answer within 0\.5 s"):
            connect(address)
        for other in waiting:
            other.close()


def test_server_that_speaks_something_else_is_said(own_home):
    import threading

    def answer(server):
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with pytest.raises(UnreachableError, match="not as an SSH server"):
            connect(SshAddress("127.0.0.1", port=server.getsockname()[1]))
        thread.join()
