"""The host's apt configuration: both formats, as recorded, and anything else without a crash."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.board.apt_sources import (
    AptSource,
    debian_archive,
    host_codename,
    parse_deb822,
    parse_one_line,
    read_sources,
)
from edgekit.core.errors import DeviceError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# As Debian 12's own images have it, with example hosts.
DEB822 = """\
Types: deb
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

ONE_LINE = """\
# deb cdrom:[Debian GNU/Linux 12.0.0]/ bookworm main

deb http://mirror.example/debian/ bookworm main non-free-firmware # the archive
deb-src http://mirror.example/debian/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://apt.example bookworm main
"""


def test_deb822_gives_one_source_per_suite():
    assert parse_deb822(DEB822) == (
        AptSource("http://mirror.example/debian", "bookworm", ("main",), KEYRING),
        AptSource("http://mirror.example/debian", "bookworm-updates", ("main",), KEYRING),
        AptSource("http://mirror.example/debian-security", "bookworm-security", ("main",), KEYRING),
    )


def test_one_line_drops_comments_and_sources():
    assert parse_one_line(ONE_LINE) == (
        AptSource("http://mirror.example/debian/", "bookworm", ("main", "non-free-firmware")),
        AptSource(
            "https://apt.example", "bookworm", ("main",), Path("/usr/share/keyrings/other.gpg")
        ),
    )


def test_deb822_with_key_written_out_names_no_file():
    text = DEB822.partition("\n\n")[0].replace(
        f"Signed-By: {KEYRING}", "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEX"
    )
    assert [source.signed_by for source in parse_deb822(text)] == [None, None]


def test_deb822_leaves_out_what_is_disabled():
    assert parse_deb822("Enabled: no\n" + DEB822.partition("\n\n")[0]) == ()


def test_deb822_leaves_out_source_packages_and_broken_stanzas():
    assert parse_deb822("Types: deb-src\nURIs: http://a\nSuites: b\n") == ()
    assert parse_deb822(" lost continuation\nno field here\n\nTypes: deb\n") == ()


@settings(deadline=None)
@given(st.text())
def test_parsers_take_any_text(text):
    parse_one_line(text)
    parse_deb822(text)


_WORD = st.from_regex(r"[a-z][a-z0-9./-]{0,12}", fullmatch=True)


@settings(deadline=None)
@given(
    _WORD, _WORD, st.lists(_WORD, min_size=1, max_size=4), st.sampled_from(["", "[arch=arm64] "])
)
def test_one_line_gives_back_what_was_written(uri, suite, components, options):
    line = f"deb {options}{uri} {suite} {' '.join(components)}"
    assert parse_one_line(line) == (AptSource(uri, suite, tuple(components)),)


@settings(deadline=None)
@given(_WORD, st.lists(_WORD, min_size=1, max_size=3, unique=True), st.lists(_WORD, max_size=3))
def test_deb822_gives_back_what_was_written(uri, suites, components):
    text = (
        f"types: deb\nURIs: {uri}\nSUITES: {' '.join(suites)}\ncomponents: {' '.join(components)}"
    )
    assert parse_deb822(text) == tuple(AptSource(uri, s, tuple(components)) for s in suites)


def test_read_sources_takes_both_formats_and_nothing_else(tmp_path):
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example/debian bookworm main\n")
    (folder / "b.sources").write_text(DEB822)
    (folder / "a.list").write_text(ONE_LINE)
    (folder / "c.list.save").write_text("deb http://old.example/debian bookworm main\n")
    uris = [source.uri for source in read_sources(tmp_path)]
    assert uris[:2] == ["http://first.example/debian", "http://mirror.example/debian/"]
    assert uris.count("http://mirror.example/debian") == 2
    assert "http://old.example/debian" not in uris


def test_read_sources_without_configuration_is_empty(tmp_path):
    assert read_sources(tmp_path) == ()


def test_debian_archive_is_told_from_others_by_its_key():
    others = (
        AptSource("https://packages.example/debian", "bookworm", ("main",), Path("/other.gpg")),
        AptSource("http://local.example/mirror", "bookworm", ("main", "contrib"), KEYRING),
        AptSource("http://mirror.example/debian-security", "bookworm-security", ("main",), KEYRING),
    )
    assert debian_archive(others, "bookworm").uri == "http://local.example/mirror"


def test_debian_archive_without_key_gets_the_keyring():
    plain = (AptSource("http://mirror.example/debian", "bookworm", ("main",)),)
    assert debian_archive(plain, "bookworm", KEYRING).signed_by == KEYRING


@pytest.mark.parametrize(
    "source",
    [
        AptSource("http://mirror.example/debian", "jammy", ("main",)),
        AptSource("http://mirror.example/debian", "bookworm", ("stable",)),
        AptSource("http://mirror.example/ubuntu", "bookworm", ("main",)),
    ],
)
def test_debian_archive_refuses_what_is_none(source):
    with pytest.raises(DeviceError) as raised:
        debian_archive((source,), "bookworm")
    assert "EDGEKIT_DEBIAN_MIRROR" in raised.value.hint


def test_host_codename_is_read_from_os_release(tmp_path):
    file = tmp_path / "os-release"
    assert host_codename(file) == ""
    file.write_text('PRETTY_NAME="Debian"\nVERSION_CODENAME=bookworm\nID=debian\n')
    assert host_codename(file) == "bookworm"
