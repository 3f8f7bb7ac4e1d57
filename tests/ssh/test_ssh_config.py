"""OpenSSH configuration, read as OpenSSH reads it."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.device.address import SshAddress
from edgekit.device.ssh_config import resolve


@pytest.fixture
def config(own_home):
    """Write ``~/.ssh/config``."""
    return (own_home / ".ssh" / "config").write_text


def test_without_configuration_defaults_hold(own_home):
    host = resolve(SshAddress("board"))
    assert (host.hostname, host.port, host.user) == ("board", 22, getpass.getuser())
    assert host.known_hosts[0] == own_home / ".ssh" / "known_hosts"
    assert host.identity_files[0] == own_home / ".ssh" / "id_ed25519"
    assert host.known_as == "board"
    assert host.jump is None
    assert host.agent_socket is None


def test_host_block_fills_in_what_the_address_leaves_open(config, own_home):
    config(
        "Host bench-pi\n HostName 10.0.0.7\n User pi\n Port 2222\n IdentityFile ~/.ssh/bench\n"
        " IdentitiesOnly yes\n ConnectTimeout 3\n"
    )
    host = resolve(SshAddress("bench-pi"))
    assert (host.name, host.hostname, host.port, host.user) == ("bench-pi", "10.0.0.7", 2222, "pi")
    assert host.identity_files == (own_home / ".ssh" / "bench",)
    assert host.identities_only
    assert host.known_as == "[10.0.0.7]:2222"
    assert host.connect_timeout_s == 3.0


def test_address_stands_above_the_configuration(config):
    config("Host b\n User pi\n Port 2222\n UserKnownHostsFile /a\n ProxyJump gate\n")
    address = SshAddress(
        "b", user="me", port=7, identity_file=Path("~/k"), known_hosts=Path("/x"), proxy_jump="none"
    )
    host = resolve(address)
    assert (host.user, host.port) == ("me", 7)
    assert host.chosen_identity == Path("~/k").expanduser()
    assert host.known_hosts == (Path("/x"),)
    assert host.jump is None


def test_first_value_counts(config):
    config("Host b\n User one\nHost *\n User two\n Port 99\n")
    assert (resolve(SshAddress("b")).user, resolve(SshAddress("b")).port) == ("one", 99)
    assert resolve(SshAddress("other")).user == "two"


def test_match_sees_the_user_of_the_address(config):
    config("Match user deploy\n Port 4000\n")
    assert resolve(SshAddress("b", user="deploy")).port == 4000
    assert resolve(SshAddress("b", user="else")).port == 22


def test_host_key_alias_is_the_name_without_port(config):
    config("Host b\n HostName 10.0.0.7\n Port 2222\n HostKeyAlias Lab-Board\n")
    assert resolve(SshAddress("b")).known_as == "lab-board"


def test_several_known_hosts_files_are_read_in_order(config, own_home):
    config('UserKnownHostsFile ~/a "/b c"\nGlobalKnownHostsFile none\n')
    assert resolve(SshAddress("b")).known_hosts == (own_home / "a", Path("/b c"))


def test_include_is_put_in_place(config, own_home):
    folder = own_home / ".ssh" / "config.d"
    folder.mkdir()
    (folder / "10.conf").write_text("Host lab-*\n  User lab\n")
    (folder / "20.conf").write_text("Host lab-1\n  Port 2201\n")
    config("Include config.d/*.conf missing\nHost lab-1\n  HostName 10.0.0.1\n")
    host = resolve(SshAddress("lab-1"))
    assert (host.hostname, host.user, host.port) == ("10.0.0.1", "lab", 2201)


def test_block_goes_on_after_an_include(config, own_home):
    (own_home / ".ssh" / "more").write_text("Host other\n  Port 1\n")
    config("Host b\n  Include more\n  User pi\n")
    assert resolve(SshAddress("b")).user == "pi"
    assert resolve(SshAddress("other")).user == getpass.getuser()


def test_include_in_a_circle_is_an_error(config):
    config("Include config\n")
    with pytest.raises(UsageError, match="includes itself"):
        resolve(SshAddress("b"))


def test_other_file_replaces_the_users(config, tmp_path):
    config("User home\n")
    (tmp_path / "mine").write_text("User mine\n")
    assert resolve(SshAddress("b", config=tmp_path / "mine")).user == "mine"
    with pytest.raises(UsageError, match="no SSH configuration"):
        resolve(SshAddress("b", config=tmp_path / "absent"))


def test_jump_chain_is_resolved_hop_by_hop(config):
    config(
        "Host board\n ProxyJump first,me@second:2022\n"
        "Host first\n HostName 1.1.1.1\n"
        "Host second\n HostName 2.2.2.2\n User no\n ProxyJump elsewhere\n"
    )
    host = resolve(SshAddress("board"))
    second = host.jump
    assert (second.hostname, second.user, second.port) == ("2.2.2.2", "me", 2022)
    assert second.jump.hostname == "1.1.1.1"
    assert second.jump.jump is None


def test_jump_host_may_have_a_jump_of_its_own(config):
    config("Host board\n ProxyJump gate\nHost gate\n ProxyJump outer\n")
    assert resolve(SshAddress("board")).jump.jump.name == "outer"


def test_jump_to_ipv6_address_is_split(config):
    config("Host board\n ProxyJump root@[fe80::1]:2222\n")
    jump = resolve(SshAddress("board")).jump
    assert (jump.user, jump.hostname, jump.port) == ("root", "fe80::1", 2222)
    assert jump.known_as == "[fe80::1]:2222"


def test_jump_in_a_circle_is_an_error(config):
    config("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(UsageError, match="circle"):
        resolve(SshAddress("a"))


@pytest.mark.parametrize("hop", ["@", "me@", "gate:port", "a,,b"])
def test_jump_that_is_no_host_is_an_error(config, hop):
    config(f"Host board\n ProxyJump {hop}\n")
    with pytest.raises(UsageError, match="no jump host"):
        resolve(SshAddress("board"))


def test_proxy_command_gets_host_and_port_that_hold(config):
    config("Host b\n HostName 10.0.0.7\n Port 1\n ProxyCommand nc %h %p # %r\n")
    assert resolve(SshAddress("b", port=9, user="u")).proxy_command == "nc 10.0.0.7 9 # u"


def test_proxy_command_none_is_none(config):
    config("Host b\n ProxyCommand none\nHost *\n ProxyCommand nc %h %p\n")
    assert resolve(SshAddress("b")).proxy_command is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", None),
        ("/run/agent", "/run/agent"),
        ("$MY_AGENT", "/mine"),
        ("SSH_AUTH_SOCK", "/env"),
    ],
)
def test_identity_agent_is_found(config, monkeypatch, value, expected):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/env")
    monkeypatch.setenv("MY_AGENT", "/mine")
    config(f"IdentityAgent {value}\n")
    socket = resolve(SshAddress("b")).agent_socket
    assert socket == (Path(expected) if expected else None)


def test_wrong_port_is_an_error(config):
    config("Port many\n")
    with pytest.raises(UsageError, match="'many' is no port"):
        resolve(SshAddress("b"))


def test_line_that_cannot_be_read_is_an_error(config):
    config("Host b\n  Gibberish\n")
    with pytest.raises(UsageError, match="Gibberish"):
        resolve(SshAddress("b"))


def test_openssh_agrees(own_home, tmp_path):
    """``ssh -G`` is the judge of what a configuration means."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here: apt-get install openssh-client")
    (tmp_path / "more").write_text(
        "Host *.lab\n  User lab\n  Port=2200\nMatch host 10.*\n  User ten\n"
    )
    path = tmp_path / "config"
    path.write_text(
        f"Include {tmp_path}/more\n"
        "Host *.lab !bad.lab\n  HostName 192.0.2.1\n  ConnectTimeout 9\n"
        "Host bad.lab\n  HostName 10.0.0.1\n  HostKeyAlias known\n"
        'Host quoted\n  User "with"\n  UserKnownHostsFile /tmp/known\n'
        "Host *\n  IdentitiesOnly yes\n  IdentityFile /keys/first\n  IdentityFile /keys/last\n"
    )
    for name in ("a.lab", "bad.lab", "quoted", "10.1.2.3", "plain"):
        listing = subprocess.run(
            ["ssh", "-G", "-F", str(path), name],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "HOME": str(own_home)},
        ).stdout
        judged: dict[str, list[str]] = {}
        for line in listing.splitlines():
            key, _, value = line.partition(" ")
            judged.setdefault(key, []).append(value)
        host = resolve(SshAddress(name, config=path))
        assert host.hostname == judged["hostname"][0], name
        assert host.user == judged["user"][0], name
        assert str(host.port) == judged["port"][0], name
        assert [str(file) for file in host.identity_files] == judged["identityfile"], name
        assert host.identities_only == (judged["identitiesonly"][0] == "yes"), name
        assert judged.get("hostkeyalias", [host.known_as])[0] == host.known_as, name
        if "connecttimeout" in judged and judged["connecttimeout"][0].isdigit():
            assert host.connect_timeout_s == float(judged["connecttimeout"][0]), name
