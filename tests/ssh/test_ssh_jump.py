"""Ways that are not straight: jump hosts and proxy commands."""

import signal
import threading
from dataclasses import replace

import pytest

from edgekit.core.errors import AuthenticationError, HostKeyError, UnreachableError
from edgekit.device.address import SshAddress
from edgekit.device.ssh import SshTransport


@pytest.fixture
def far(make_sshd):
    return make_sshd()


@pytest.fixture
def gate(make_sshd):
    return make_sshd()


@pytest.fixture
def configured(own_home, far, gate):
    """A configuration in which ``far`` is reached through ``gate``."""
    known = own_home / ".ssh" / "known_hosts"
    known.write_text(gate.known_hosts.read_text() + far.known_hosts.read_text())
    (own_home / ".ssh" / "config").write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.identity}\n"
        f"Host far\n HostName 127.0.0.1\n Port {far.port}\n IdentityFile {far.identity}\n"
        " ProxyJump gate\n"
    )
    return SshAddress("far", user=far.user)


def exchange(transport):
    stream = transport.open(["cat"])
    stream.write(b"through")
    data = stream.read(100)
    stream.close()
    return data


def test_jump_host_leads_to_the_device(configured, far, gate):
    before = set(threading.enumerate())
    transport = SshTransport(configured)
    assert exchange(transport) == b"through"
    assert "Accepted publickey" in gate.log
    assert "Accepted publickey" in far.log
    transport.close()
    assert set(threading.enumerate()) <= before


def test_jump_of_the_address_leads_to_the_device(configured, far):
    address = replace(
        far.address, proxy_jump="gate", known_hosts=None, config=None, host="localhost"
    )
    with pytest.raises(HostKeyError, match=rf"\[localhost\]:{far.port} is unknown"):
        SshTransport(address)


def test_chain_of_jumps_leads_to_the_device(configured, gate, own_home, far):
    # gate twice over: the second hop is reached through the first.
    transport = SshTransport(replace(configured, proxy_jump="gate,gate"))
    assert exchange(transport) == b"through"
    transport.close()
    assert gate.log.count("Accepted publickey") == 2


def test_jump_host_has_its_own_key_checked(configured, own_home, far):
    (own_home / ".ssh" / "known_hosts").write_text(far.known_hosts.read_text())
    with pytest.raises(HostKeyError, match="is unknown") as caught:
        SshTransport(configured)
    assert str(far.port) not in caught.value.message


def test_device_behind_a_jump_has_its_own_key_checked(configured, own_home, gate, far):
    (own_home / ".ssh" / "known_hosts").write_text(gate.known_hosts.read_text())
    before = set(threading.enumerate())
    with pytest.raises(HostKeyError, match=rf"\[127\.0\.0\.1\]:{far.port} is unknown"):
        SshTransport(configured)
    assert set(threading.enumerate()) <= before


def test_jump_host_that_refuses_us_is_named(configured, gate):
    gate.authorized_keys.write_text("")
    with pytest.raises(AuthenticationError, match="gate refused every key"):
        SshTransport(configured)


def test_device_that_is_down_behind_a_jump_is_told_apart(configured, far):
    far.stop()
    with pytest.raises(UnreachableError, match="cannot be reached from gate"):
        SshTransport(configured)


def test_loss_of_the_jump_host_is_a_loss_of_the_device(configured, gate):
    from edgekit.core.errors import ConnectionLostError

    transport = SshTransport(configured)
    stream = transport.open(["cat"])
    gate.signal_sessions(signal.SIGKILL)
    with pytest.raises(ConnectionLostError, match="lost far"):
        stream.read(1)
    transport.close()


def proxied(sshd, own_home, command):
    (own_home / ".ssh" / "config").write_text(f"ProxyCommand {command}\n")
    return sshd.address


def test_proxy_command_leads_to_the_device(sshd, own_home):
    # Any program that passes bytes will do; OpenSSH's own client is at hand.
    command = (
        f"ssh -q -F none -o StrictHostKeyChecking=yes -o UserKnownHostsFile={sshd.known_hosts} "
        f"-i {sshd.identity} -p {sshd.port} -W %h:%p {sshd.user}@127.0.0.1"
    )
    transport = SshTransport(proxied(sshd, own_home, command))
    assert exchange(transport) == b"through"
    transport.close()


def test_proxy_command_that_ends_is_told(sshd, own_home):
    with pytest.raises(UnreachableError, match="not as an SSH server"):
        SshTransport(proxied(sshd, own_home, "false"))


def test_device_that_refuses_us_behind_a_jump_is_named(configured, far):
    far.authorized_keys.write_text("")
    with pytest.raises(AuthenticationError, match="far refused every key"):
        SshTransport(configured)
