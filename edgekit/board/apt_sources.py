"""Which Debian archive the host itself uses: mirror and keyring of the boards' packages.

Source: sources.list(5), both of its formats.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import DeviceError

APT_FOLDER: Final = Path("/etc/apt")
DEBIAN_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ONE_LINE: Final = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>.+)")


@dataclass(frozen=True)
class AptSource:
    """One entry of the host's apt configuration that offers binary packages.

    ``signed_by`` is a key file, ``None`` where the entry names none or holds the key itself.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: Path | None = None


def parse_one_line(text: str) -> tuple[AptSource, ...]:
    """Read a file in the one-line format (``deb [options] uri suite component...``)."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        words = match["rest"].split()
        if len(words) < 2:  # noqa: PLR2004 - an entry has an address and a suite at least
            continue
        pairs = (option.partition("=") for option in (match["options"] or "").split())
        options = {key.lower(): value for key, _, value in pairs}
        uri, suite, *components = words
        found.append(AptSource(uri, suite, tuple(components), _key(options.get("signed-by", ""))))
    return tuple(found)


def parse_deb822(text: str) -> tuple[AptSource, ...]:
    """Read a file in the deb822 format (stanzas of ``Field: value``)."""
    found: list[AptSource] = []
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").lower() in {"no", "false", "off", "0", "without"}:
            continue
        if "deb" not in stanza.get("types", "").split():
            continue
        components = tuple(stanza.get("components", "").split())
        key = _key(stanza.get("signed-by", ""))
        found += [
            AptSource(uri, suite, components, key)
            for uri in stanza.get("uris", "").split()
            for suite in stanza.get("suites", "").split()
        ]
    return tuple(found)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    field = ""
    # A last empty line ends the last stanza.
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += "\n" + line.strip()
        else:
            name, colon, value = line.partition(":")
            field = name.strip().lower() if colon else ""
            if field:
                stanza[field] = value.strip()


def _key(text: str) -> Path | None:
    words = text.split()
    # Several words are a key written out, or fingerprints: neither is a file.
    return Path(words[0]) if len(words) == 1 and words[0].startswith("/") else None


def read_sources(folder: Path = APT_FOLDER) -> tuple[AptSource, ...]:
    """Return every entry of the host's apt configuration, in apt's own order."""
    found: list[AptSource] = []
    main = folder / "sources.list"
    for file in (main, *sorted((folder / "sources.list.d").glob("*"))):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if file.suffix == ".sources":
            found += parse_deb822(text)
        elif file.suffix == ".list":
            found += parse_one_line(text)
    return tuple(found)


def debian_archive(
    sources: Sequence[AptSource], codename: str, keyring: Path = DEBIAN_KEYRING
) -> AptSource:
    """Choose the entry that is Debian's main archive.

    Others publish under Debian's suite names as well. What tells the archive apart is its key,
    or else the folder name that every mirror keeps.

    Args:
        sources: the host's entries.
        codename: the host's own suite, such as ``bookworm``.
        keyring: Debian's keys, for an entry that names no file.

    Raises:
        DeviceError: there is none.
    """

    def rank(source: AptSource) -> tuple[bool, bool]:
        key = source.signed_by.name if source.signed_by else ""
        return key.startswith("debian-archive"), source.uri.rstrip("/").endswith("/debian")

    fits = [
        source
        for source in sources
        if source.suite in {codename, "stable", "oldstable"}
        and "main" in source.components
        and any(rank(source))
    ]
    if not fits:
        raise DeviceError(
            "the host's apt configuration names no Debian archive for the board's packages",
            hint="set EDGEKIT_DEBIAN_MIRROR to the address of one",
        )
    best = max(fits, key=rank)
    return AptSource(best.uri, best.suite, best.components, best.signed_by or keyring)


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the host's suite name, ``""`` where it is not written down."""
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', text, re.MULTILINE)
    return match[1] if match else ""


def host_proxy() -> str | None:
    """Return the proxy that the host's apt is set to use."""
    try:
        told = subprocess.run(
            ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except OSError:
        return None
    match = re.fullmatch(r"PROXY='([^']+)'", told.strip())
    return match[1] if match else None
