"""What is installed on a device."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.names import Architecture, EngineName, Precision

MANIFEST_FORMAT = 1
# What edgekit adds to an engine's files (edgekit.toolbox.runner_pack and native).
RUNNER_FILE = "runner.pyz"
STEPS_FILE = "libsteps.so"
SAMPLER_FILE = "libsampler.so"
OWN_FILES = (RUNNER_FILE, STEPS_FILE, SAMPLER_FILE)


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle: where it stands in the bundle, and its content.

    ``source`` is where the host holds the content; it is not part of the manifest.
    """

    path: str
    sha256: str
    size_bytes: int
    source: Path


@dataclass(frozen=True)
class RuntimePack:
    """The engine's runtime for one kind of Python, libc and machine.

    ``wheels`` are unpacked side by side on the device, once, under ``identity``.
    An empty tuple of wheels is a board whose own packages suffice.
    """

    identity: str
    python: str
    wheels: tuple[BundleFile, ...]

    def as_json(self) -> Mapping[str, Any]:
        """The runtime as the device reads it."""
        return {
            "id": self.identity,
            "python": self.python,
            "wheels": [_entry(file) for file in self.wheels],
        }


@dataclass(frozen=True)
class Bundle:
    """A candidate, built: the engine's files, the runner, the runtime, and how to run it.

    Attributes:
        job_json: the constant part of the runner's job (``edgekit.onboard.harness``).
        knobs: engine settings such as ``threads``, as sorted pairs.
    """

    name: str
    engine: EngineName
    precision: Precision
    target: str
    architecture: Architecture
    compatible: tuple[str, ...]
    files: tuple[BundleFile, ...]
    runtime: RuntimePack
    job_json: str
    knobs: tuple[tuple[str, str | int], ...] = ()

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest as it is written on the device: plain JSON values."""
        return {
            "format": MANIFEST_FORMAT,
            "name": self.name,
            "engine": self.engine,
            "precision": self.precision,
            "target": self.target,
            "architecture": self.architecture,
            "compatible": list(self.compatible),
            "knobs": dict(self.knobs),
            "files": [_entry(file) for file in self.files],
            "runtime": self.runtime.as_json(),
            "job": json.loads(self.job_json),
        }

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest in canonical form: sorted keys, no spaces, UTF-8."""
        return json.dumps(self.manifest, sort_keys=True, separators=(",", ":")).encode()

    @property
    def identity(self) -> str:
        """sha256 of the canonical manifest: the bundle's name on every device."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def content(self) -> tuple[BundleFile, ...]:
        """Every file that must be on the device, each content once."""
        unique = {file.sha256: file for file in (*self.files, *self.runtime.wheels)}
        return tuple(unique.values())

    @property
    def size_bytes(self) -> int:
        """Size of the engine's own files, without what edgekit adds and without the runtime."""
        return sum(file.size_bytes for file in self.files if file.path not in OWN_FILES)


def _entry(file: BundleFile) -> dict[str, str | int]:
    return {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}
