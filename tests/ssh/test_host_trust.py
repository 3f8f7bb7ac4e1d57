import base64

import pytest

from edgekit.core.errors import HostKeyError
from edgekit.device import connect
from edgekit.device.address import SshAddress
from edgekit.device.host_trust import is_known_host, trust_host_key
from edgekit.device.ssh_known_hosts import HostKey, KnownHosts
from edgekit.flash.provision import new_host_key


def key(number):
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def as_shown(public):
    return HostKey("ssh-ed25519", base64.b64decode(public.split()[1]))


@pytest.fixture
def address(tmp_path):
    config = tmp_path / "config"
    config.write_text("")
    return SshAddress("bench-pi.local", known_hosts=tmp_path / "known", config=config)


def judged(address, public):
    return KnownHosts([address.known_hosts]).judge("bench-pi.local", as_shown(public)).standing


def test_key_of_a_new_device_is_known_from_the_start(address):
    assert not is_known_host(address)
    assert trust_host_key(address, key(1)) == address.known_hosts
    assert judged(address, key(1)) == "known"
    assert is_known_host(address)
    before = address.known_hosts.read_bytes()
    trust_host_key(address, key(1))
    assert address.known_hosts.read_bytes() == before


def test_another_device_of_the_name_is_not_forgotten_unasked(address):
    trust_host_key(address, key(1))
    with pytest.raises(HostKeyError, match="known by another key"):
        trust_host_key(address, key(2))
    assert judged(address, key(1)) == "known"
    trust_host_key(address, key(2), replace=True)
    assert judged(address, key(2)) == "known"
    assert judged(address, key(1)) == "changed"


def test_replacing_leaves_other_hosts_and_comments(address):
    address.known_hosts.write_text(
        f"# mine\nother {key(3)}\nBench-Pi.local,10.0.0.7 {key(1)} note\nbench-pi.local {key(4)}\n"
    )
    address.known_hosts.chmod(0o640)
    trust_host_key(address, key(2), replace=True)
    assert address.known_hosts.read_text() == (
        f"# mine\nother {key(3)}\n10.0.0.7 {key(1)} note\nbench-pi.local {key(2)}\n"
    )
    assert address.known_hosts.stat().st_mode & 0o777 == 0o640


def test_hashed_name_is_forgotten_too(address, tmp_path):
    (tmp_path / "config").write_text("HashKnownHosts yes\n")
    trust_host_key(address, key(1))
    assert "bench-pi" not in address.known_hosts.read_text()
    trust_host_key(address, key(2), replace=True)
    assert len(address.known_hosts.read_text().splitlines()) == 1
    assert judged(address, key(2)) == "known"


def test_pattern_and_revoked_key_are_refused(address):
    for line in (f"*.local {key(1)}\n", f"@revoked * {key(2)}\n"):
        address.known_hosts.write_text(line)
        with pytest.raises(HostKeyError):
            trust_host_key(address, key(2), replace=True)
        assert address.known_hosts.read_text() == line


@pytest.mark.parametrize("public", ["", "ssh-ed25519", "ssh-ed25519 !!"])
def test_what_is_no_key_is_refused(address, public):
    with pytest.raises(HostKeyError):
        trust_host_key(address, public)
    assert not address.known_hosts.exists()


@pytest.mark.usefixtures("own_home")
def test_first_connection_to_a_device_with_a_key_made_here_needs_no_trust_on_sight(sshd):
    made = new_host_key()
    sshd.stop()
    sshd.host_key.write_text(made.private)
    sshd.host_key.chmod(0o600)
    sshd.known_hosts.write_text("")
    sshd.start()
    with pytest.raises(HostKeyError, match="unknown"):
        connect(sshd.address)
    trust_host_key(sshd.address, made.public)
    with connect(sshd.address) as device:
        assert device.facts.home == str(sshd.home)
