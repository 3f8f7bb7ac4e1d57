"""What judges the files that cloud-init reads at a first boot: its own schema, and netplan.

They come from Debian's packages, unpacked and not installed: an installed cloud-init acts when its
machine starts. Its schema of networks knows no Wi-Fi; cloud-init leaves that to netplan, which says
what it would have the device do.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from edgekit.board.debian_packages import PackageArchive, Selection, said, unpack
from edgekit.core.errors import DeviceError
from edgekit.core.events import ignore

CLOUD_INIT = "cloud-init"
SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
NETPLAN = ("netplan.io", "libnetplan0", "libyaml-0-2", "libglib2.0-0")
GENERATE = "usr/libexec/netplan/generate"
CANNOT_START = 127  # as the dynamic loader says it


def _packages(suite: str, *names: str) -> Path:
    """Return a folder with packages of this machine's own architecture, unpacked into it."""

    def fill(folder: Path, scratch: Path, archive: PackageArchive) -> str:
        archive.download(names, scratch)
        for package in scratch.glob("*.deb"):
            unpack(package, folder)
        return suite

    try:
        here = said(["dpkg", "--print-architecture"]).strip()
        selection = Selection(f"test-{names[0]}", f"{names[0]}, for tests", 10, here, (here, names))
        return selection.folder(suite, None, fill, ignore)
    except DeviceError as error:
        pytest.skip(f"Debian's {names[0]} cannot be had: {error.message}")


def user_data_faults(user_data: bytes) -> list[str]:
    """Say what cloud-init's schema finds wrong; it is the one of Debian 13."""
    from jsonschema import Draft4Validator
    from jsonschema.exceptions import best_match

    schema = json.loads((_packages("trixie", CLOUD_INIT) / SCHEMA).read_text("utf-8"))
    head, _, config = user_data.partition(b"\n")
    faults = [] if head == b"#cloud-config" else [f"the first line is {head!r}"]
    found = Draft4Validator(schema).iter_errors(json.loads(config))
    return faults + [f"{each.json_path}: {best_match([each]).message}" for each in found]


def generated(network_config: bytes, folder: Path) -> dict[str, str]:
    """Have netplan (of Debian 12, which newer C libraries run) make a device's settings.

    Raises:
        ValueError: netplan refuses it, in its own words.
    """
    packages = _packages("bookworm", *NETPLAN)
    source = folder / "etc" / "netplan" / "edgekit.yaml"
    source.parent.mkdir(parents=True)
    # cloud-init puts the outer key around it.
    source.write_text(json.dumps({"network": json.loads(network_config)}), "utf-8")
    source.chmod(0o600)
    libraries = ":".join(str(path) for path in packages.glob("usr/lib/*-linux-gnu*"))
    done = subprocess.run(
        [packages / GENERATE, "--root-dir", folder],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == CANNOT_START:
        pytest.skip(f"netplan cannot be run here: {done.stderr.strip()}")
    if done.returncode:
        raise ValueError(re.sub(r"\s+", " ", done.stderr))
    made = (folder / "run").rglob("*")
    return {str(path.relative_to(folder)): path.read_text() for path in made if path.is_file()}
