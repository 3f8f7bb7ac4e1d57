"""Host keys: only the one known is trusted, and a new one only on demand."""

import base64
import subprocess
from dataclasses import replace

import pytest
from sshd_fixture import make_key

from edgekit.core.errors import HostKeyError
from edgekit.core.events import Note
from edgekit.device.ssh import SshTransport

pytestmark = pytest.mark.usefixtures("own_home")


def connect(address, **options):
    SshTransport(address, **options).close()


def fingerprint_of(path):
    listing = subprocess.run(["ssh-keygen", "-lf", str(path)], capture_output=True, check=True)
    return listing.stdout.decode().split()[1]


def other_key(folder, name="other", kind="ed25519"):
    make_key(folder / name, kind=kind)
    return " ".join((folder / f"{name}.pub").read_text().split()[:2])


def test_unknown_key_is_refused_with_its_fingerprint(sshd):
    sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyError, match="is unknown") as caught:
        connect(sshd.address)
    assert fingerprint_of(sshd.host_key) in caught.value.message
    assert "--accept-new" in caught.value.hint
    assert sshd.known_hosts.read_text() == ""


def test_unknown_key_is_refused_where_there_is_no_file(sshd):
    sshd.known_hosts.unlink()
    with pytest.raises(HostKeyError, match="is unknown"):
        connect(sshd.address)
    assert not sshd.known_hosts.exists()


def test_nothing_is_sent_to_a_host_that_is_not_trusted(sshd):
    sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyError):
        connect(sshd.address)
    assert "Accepted" not in sshd.log
    assert "Failed" not in sshd.log


def test_accept_new_adds_the_key_and_says_so(sshd, own_home):
    (own_home / ".ssh" / "config").write_text("HashKnownHosts no\n")  # Debian says yes
    sshd.known_hosts.write_text("# mine, without a newline at the end")
    events = []
    connect(sshd.address, emit=events.append, accept_new=True)
    assert [type(event) for event in events] == [Note]
    assert events[0].warning
    assert fingerprint_of(sshd.host_key) in events[0].text
    assert sshd.known_hosts.read_text().splitlines() == [
        "# mine, without a newline at the end",
        f"{sshd.known_as} {sshd.public_host_key}",
    ]
    connect(sshd.address, emit=events.append)
    assert len(events) == 1


def test_accept_new_is_understood_by_openssh(sshd):
    sshd.known_hosts.unlink()
    connect(sshd.address, accept_new=True)
    assert sshd.known_hosts.stat().st_mode & 0o777 == 0o600
    found = subprocess.run(
        ["ssh-keygen", "-F", sshd.known_as, "-f", str(sshd.known_hosts)],
        capture_output=True,
        check=True,
    )
    assert sshd.public_host_key in found.stdout.decode()


def test_accept_new_is_silent_for_a_known_host(sshd):
    events = []
    connect(sshd.address, emit=events.append, accept_new=True)
    assert not events


@pytest.mark.parametrize("accept_new", [False, True])
def test_changed_key_is_refused_with_both_fingerprints(sshd, tmp_path, accept_new):
    sshd.known_hosts.write_text(f"# first\n{sshd.known_as} {other_key(tmp_path)}\n")
    before = sshd.known_hosts.read_text()
    with pytest.raises(HostKeyError, match="has changed") as caught:
        connect(sshd.address, accept_new=accept_new)
    assert fingerprint_of(sshd.host_key) in caught.value.message
    assert fingerprint_of(tmp_path / "other.pub") in caught.value.message
    assert f"{sshd.known_hosts} line 2" in caught.value.message
    assert f"ssh-keygen -f {sshd.known_hosts} -R '{sshd.known_as}'" in caught.value.hint
    assert sshd.known_hosts.read_text() == before


def test_key_of_another_type_than_the_known_one_counts_as_changed(sshd, tmp_path):
    sshd.known_hosts.write_text(f"{sshd.known_as} {other_key(tmp_path, kind='ecdsa')}\n")
    with pytest.raises(HostKeyError, match="has changed"):
        connect(sshd.address, accept_new=True)


def test_known_type_is_asked_for_first(make_sshd, tmp_path):
    key = other_key(tmp_path, "rsa", "rsa")
    # HostKey may be given again: paramiko alone would choose ed25519 of the two.
    sshd = make_sshd(LoginGraceTime=f"60\nHostKey {tmp_path / 'rsa'}")
    sshd.known_hosts.write_text(f"{sshd.known_as} {key}\n")
    connect(sshd.address)


def test_revoked_key_is_refused_even_if_it_is_known(sshd):
    with sshd.known_hosts.open("a") as file:
        file.write(f"@revoked * {sshd.public_host_key}\n")
    with pytest.raises(HostKeyError, match="is revoked"):
        connect(sshd.address, accept_new=True)


def test_hashed_entry_of_openssh_is_honoured(sshd):
    subprocess.run(
        ["ssh-keygen", "-q", "-H", "-f", str(sshd.known_hosts)], check=True, capture_output=True
    )
    assert "127.0.0.1" not in sshd.known_hosts.read_text()
    connect(sshd.address)


def test_hashed_changed_key_is_refused(sshd, tmp_path):
    sshd.known_hosts.write_text(f"{sshd.known_as} {other_key(tmp_path)}\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-H", "-f", str(sshd.known_hosts)], check=True, capture_output=True
    )
    with pytest.raises(HostKeyError, match="has changed"):
        connect(sshd.address)


def test_key_known_at_another_port_is_not_enough(sshd):
    sshd.known_hosts.write_text(f"127.0.0.1 {sshd.public_host_key}\n")
    with pytest.raises(HostKeyError, match="is unknown"):
        connect(sshd.address)


def test_new_name_is_hashed_where_the_configuration_asks(sshd, own_home):
    config = own_home / ".ssh" / "config"
    config.write_text("HashKnownHosts yes\n")
    sshd.known_hosts.unlink()
    connect(sshd.address, accept_new=True)
    assert sshd.known_hosts.read_text().startswith("|1|")
    connect(sshd.address)


def test_users_own_known_hosts_is_the_default(sshd, own_home):
    address = replace(sshd.address, known_hosts=None)
    connect(address, accept_new=True)
    assert sshd.public_host_key in (own_home / ".ssh" / "known_hosts").read_text()


def test_strict_host_key_checking_no_changes_nothing(sshd, own_home):
    (own_home / ".ssh" / "config").write_text("StrictHostKeyChecking no\n")
    sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyError):
        connect(sshd.address)


def test_file_that_cannot_be_written_is_said(sshd, tmp_path):
    (tmp_path / "file").write_text("")
    address = replace(sshd.address, known_hosts=tmp_path / "file" / "known_hosts")
    with pytest.raises(HostKeyError, match="cannot be written"):
        connect(address, accept_new=True)


def test_blob_of_the_file_is_what_is_compared(sshd):
    # The same key with another comment and blanks is still the same key.
    kind, encoded = sshd.public_host_key.split()
    assert base64.b64decode(encoded)
    sshd.known_hosts.write_text(f"  {sshd.known_as}\t{kind}   {encoded} a comment here\n")
    connect(sshd.address)
