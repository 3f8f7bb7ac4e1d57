"""What devices made of a build at its first load: kept here, and sent to identical devices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.app.memory import Memory
from edgekit.catalog.cache import ContentStore, cache_root
from edgekit.core.bundle import OWN_FILES, Bundle, BundleFile
from edgekit.core.errors import RunnerError
from edgekit.core.target import DeviceFacts


def likeness(facts: DeviceFacts) -> str:
    """Return text that is equal for identical devices: board and system decide, no unit does."""
    return json.dumps([facts.machine, facts.compatible[:1], facts.kernel, facts.l4t])


class Prebuilt:
    """Files that one kind of device made, by the build that it made them of.

    What was made last is kept. A file's name says all that decides whether it fits, and the
    session that finds another name than its own makes it anew: so a device that is not as
    identical as its facts say loses time, and nothing else.

    Args:
        facts: of the device at hand.
    """

    def __init__(self, facts: DeviceFacts) -> None:
        self._memory = Memory(cache_root() / "made", likeness(facts))
        self._content = ContentStore()
        # A bundle must be one and the same as long as a race runs, whatever others keep by then.
        self._files: dict[str, tuple[BundleFile, ...]] = {}

    def completed(self, bundle: Bundle) -> Bundle:
        """Return the bundle with what is kept of it; the bundle itself where nothing is."""
        key = _key(bundle)
        if key not in self._files:
            held = self._memory.recall(key)
            self._files[key] = self._read(held) if held is not None else ()
        made = self._files[key]
        return replace(bundle, files=(*bundle.files, *made)) if made else bundle

    def keep(self, bundle: Bundle, made: Sequence[tuple[str, Path]]) -> None:
        """Keep what a device made of a bundle, instead of what was kept before.

        Raises:
            RunnerError: the bundle itself has a file of such a name.
        """
        own = {file.path for file in bundle.files}
        for name, _path in made:
            if name in own:
                raise RunnerError(f"the runner made a file {name}, which the bundle has already")
        files = [(name, self._content.add_file(path)) for name, path in made]
        value = [[name, file.sha256, file.size_bytes] for name, file in files]
        key = _key(bundle)
        self._files[key] = self._read(self._memory.keep({"files": value}, key))

    def _read(self, held: Mapping[str, Any]) -> tuple[BundleFile, ...]:
        files = []
        for name, sha256, size_bytes in held["files"]:
            path = self._content.verified(sha256)
            if path is None:
                return ()  # gone or damaged: the next device makes it again
            files.append(BundleFile(name, sha256, size_bytes, path))
        return tuple(files)


def _key(bundle: Bundle) -> str:
    """Name what was built: another runner or recipe makes the same of it."""
    built = sorted((file.path, file.sha256) for file in bundle.files if file.path not in OWN_FILES)
    return json.dumps([bundle.engine, bundle.precision, built])
