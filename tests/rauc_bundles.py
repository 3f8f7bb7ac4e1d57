"""Bundles for RAUC, signed by an authority of the tests' own."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekit.board.requirements import Requirement

_MANIFEST = """\
[update]
compatible={compatible}
version={version}

[bundle]
format=verity

[image.rootfs]
filename=root.ext4
"""


@dataclass(frozen=True)
class Authority:
    """A key, and the certificate by which devices know it."""

    key: Path
    certificate: Path


def make_authority(folder: Path, name: str) -> Authority:
    """Make a key and its certificate, which is its own authority."""
    made = Authority(folder / f"{name}.key", folder / f"{name}.pem")
    _run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", made.key, "-out", made.certificate),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
        ]
    )
    return made


def make_bundle(
    root: Path, bundle: Path, authority: Authority, *, compatible: str, version: str
) -> Path:
    """Sign a file system as an update; quickly packed rather than small."""
    content = bundle.with_suffix(".content")
    content.mkdir()
    root.rename(content / "root.ext4")
    manifest = _MANIFEST.format(compatible=compatible, version=version)
    (content / "manifest.raucm").write_text(manifest, encoding="ascii")
    signer = [f"--cert={authority.certificate}", f"--key={authority.key}"]
    packing = "--mksquashfs-args=-comp zstd -Xcompression-level 1"
    _run(["rauc", "bundle", *signer, packing, content, bundle])
    return bundle


def _run(command: "list[str | Path]") -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bundle_tools() -> tuple[Requirement, ...]:
    """Tell what making bundles needs of the host."""
    programs = {"rauc": "rauc", "squashfs-tools": "mksquashfs", "openssl": "openssl"}
    return tuple(
        Requirement(package, shutil.which(program) is not None, f"apt-get install -y {package}")
        for package, program in programs.items()
    )
