"""The known_hosts format, without a server."""

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgekit.device.ssh_known_hosts import HostKey, KnownHosts, append_key, lookup_name

KEY = HostKey("ssh-ed25519", b"the key")
OTHER = HostKey("ssh-ed25519", b"another key")


def line(names, key=KEY, marker=""):
    return f"{marker} {names} {key.key_type} {base64.b64encode(key.blob).decode()} comment\n"


@pytest.fixture
def known(tmp_path):
    def write(*lines):
        (tmp_path / "known_hosts").write_text("".join(lines))
        return KnownHosts([tmp_path / "absent", tmp_path / "known_hosts"])

    return write


@pytest.mark.parametrize(
    ("names", "name", "matches"),
    [
        ("board", "board", True),
        ("board", "board2", False),
        ("a,board,c", "board", True),
        ("*.lab", "x.lab", True),
        ("*.lab,!x.lab", "x.lab", False),
        ("!x.lab,*.lab", "x.lab", False),
        ("10.0.0.?", "10.0.0.7", True),
        ("10.0.0.?", "10.0.0.17", False),
        ("[board]:2222", "[board]:2222", True),
        ("[board]:2222", "board", False),
        ("board", "[board]:2222", False),
        ("[ab]", "a", False),
        ("Board", "board", True),
    ],
)
def test_name_matches_as_in_openssh(known, names, name, matches):
    expected = "known" if matches else "unknown"
    assert known(line(names)).judge(name, KEY).standing == expected


def test_any_of_several_keys_of_a_type_is_good(known):
    hosts = known(line("board", OTHER), line("board", KEY))
    assert hosts.judge("board", KEY).standing == "known"
    assert hosts.judge("board", OTHER).standing == "known"
    assert hosts.judge("board", HostKey("ssh-ed25519", b"third")).standing == "changed"


def test_revoked_beats_known(known):
    hosts = known(line("board"), line("*", marker="@revoked"))
    assert hosts.judge("board", KEY).standing == "revoked"
    assert hosts.judge("board", OTHER).standing == "changed"


def test_authority_is_no_host_key(known):
    hosts = known(line("*", marker="@cert-authority"))
    assert hosts.judge("board", KEY).standing == "unknown"
    assert hosts.key_types("board") == ()


def test_unknown_marker_is_passed_over(known):
    assert known(line("*", marker="@trusted")).judge("board", KEY).standing == "unknown"


def test_verdict_names_file_and_line(known, tmp_path):
    entry = known("# a comment\n", "\n", line("board", OTHER)).judge("board", KEY).entries[0]
    assert (entry.path, entry.line) == (tmp_path / "known_hosts", 3)


def test_lookup_name_carries_a_port_that_is_not_usual():
    assert lookup_name("Board.Local", 22) == "board.local"
    assert lookup_name("fe80::1", 2222) == "[fe80::1]:2222"


def test_fingerprint_is_that_of_ssh_keygen(tmp_path):
    # Source: sshd_fixture-made keys are compared in test_ssh_trust; this pins the format.
    assert KEY.fingerprint.startswith("SHA256:")
    assert "=" not in KEY.fingerprint


untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


@untimed
@given(name=names, port=st.integers(1, 65535), blob=st.binary(min_size=1), hashed=st.booleans())
def test_what_is_appended_is_known_from_then_on(tmp_path_factory, name, port, blob, hashed):
    path = tmp_path_factory.mktemp("known") / "folder" / "known_hosts"
    held, key = lookup_name(name, port), HostKey("ssh-ed25519", blob)
    append_key(path, held, key, hashed=hashed)
    append_key(path, held + "x", OTHER, hashed=hashed)
    assert KnownHosts([path]).judge(held, key).standing == "known"
    assert KnownHosts([path]).judge(held + "y", key).standing == "unknown"
    assert (name in path.read_text()) is not hashed or len(name) < 4


@untimed
@example(junk="board ssh-ed25519 \u00e9\u00e9\u00e9\u00e9")
@example(junk="|1|\u00e9|AAAA ssh-ed25519 AAAA")
@example(junk="|1|AAAA|\u00e9 ssh-ed25519 AAAA")
@example(junk="@revoked\n@\n|1|\n|1||| a AAAA")
@given(junk=st.text())
def test_junk_neither_breaks_nor_hides_other_lines(tmp_path_factory, junk):
    path: Path = tmp_path_factory.mktemp("known") / "known_hosts"
    path.write_text(f"{junk}\n{line('board')}", encoding="utf-8", errors="replace")
    assert KnownHosts([path]).judge("board", KEY).standing in {"known", "revoked"}
