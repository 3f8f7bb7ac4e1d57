"""What was found out on a device, remembered by everything that it depends on."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edgekit.catalog.cache import KeyedCache
from edgekit.core.target import DeviceFacts

_FILE: Final = "result.json"
_VERSION: Final = 1
# What changes from one hour to the next without making it another device.
_PASSING: Final = frozenset({"memory_available_bytes", "disk_free_bytes"})


def fingerprint(facts: DeviceFacts) -> str:
    """Return text that is equal for one device whose system did not change.

    An upgrade of its kernel, its libc or a Python makes it another: figures may differ.
    """
    lasting = {name: value for name, value in asdict(facts).items() if name not in _PASSING}
    return json.dumps(lasting, sort_keys=True)


class Memory:
    """Results by key.

    Args:
        folder: where they are kept, such as the setting ``results_dir``.
        device: fingerprint of the device that all of them were found out on.
        fresh: whether to forget what was known before this run.
    """

    def __init__(self, folder: Path, device: str, *, fresh: bool = False) -> None:
        self._cache = KeyedCache(folder)
        self._device = device
        self._fresh = fresh
        self._held: dict[str, Mapping[str, Any]] = {}

    def recall(self, *key: object) -> Mapping[str, Any] | None:
        """Return what was kept under ``key``, ``None`` if nothing was."""
        text = self._key(key)
        if text in self._held:
            return self._held[text]
        folder = None if self._fresh else self._cache.get(text)
        if folder is None:
            return None
        try:
            value = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._cache.discard(text)  # damaged: something outside edgekit changed it
            return None
        return value if isinstance(value, dict) else None

    def keep(self, value: Mapping[str, Any], *key: object) -> Mapping[str, Any]:
        """Keep plain JSON values under ``key``, with the time; return them."""
        text = self._key(key)
        stamped = {"measured_at_s": int(time.time()), **value}

        def fill(folder: Path) -> None:
            (folder / _FILE).write_text(json.dumps(stamped), encoding="utf-8")

        self._held[text] = stamped
        if self._cache.get(text) is not None:
            self._cache.discard(text)
        self._cache.build(text, fill, subject="a result")
        return stamped

    def _key(self, key: tuple[object, ...]) -> str:
        return json.dumps([_VERSION, self._device, *key], sort_keys=True)
