"""Names of classes that exporters leave in a file's metadata."""

import ast
import json
from collections.abc import Mapping


def class_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Read ``names`` (Ultralytics) or ``character`` (PP-OCR); nothing where neither is right."""
    if "character" in metadata:
        return tuple(metadata["character"].splitlines())
    return parse_names(metadata.get("names", ""))


def parse_names(text: str) -> tuple[str, ...]:
    """Parse a list, or a mapping from index to name, as JSON or as a Python literal."""
    value = _literal(text)
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (TypeError, ValueError):
            return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _literal(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value
