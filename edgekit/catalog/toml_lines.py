"""Where keys stand in a TOML text, since ``tomllib`` does not tell."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

KeyPath = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|.",
    re.DOTALL,
)


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or of the nearest thing that holds it; 1 for the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def locate_keys(text: str) -> dict[KeyPath, int]:
    """Map each table and key of a valid TOML text to its line, counted from 1.

    Tables of an array carry their index. Keys within inline tables are not listed.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement, assigned in _statements(text):
        if assigned:
            path = (*table, *_key_steps(statement))
        elif statement.startswith("[["):
            names = _through_arrays(_key_steps(statement[2:-2]), counts, whole=False)
            counts[names] = counts.get(names, 0) + 1
            lines.setdefault(names, line)
            path = table = (*names, counts[names] - 1)
        else:
            path = table = _through_arrays(_key_steps(statement[1:-1]), counts, whole=True)
        lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line, header or key, and whether it is a key, for each statement."""
    line = start = 1
    head = ""
    depth = 0
    assigned = False
    for match in _TOKEN.finditer(text + "\n"):
        piece = match[0]
        if piece == "\n" and depth == 0:
            if head.strip():
                yield start, head.strip(), assigned
            head, assigned, start = "", False, line + 1
        elif piece == "=" and not assigned:
            assigned = True
        elif not assigned and not piece.startswith("#"):
            head += piece
        depth += (piece in {"[", "{"}) - (piece in {"]", "}"})
        line += piece.count("\n")


def _key_steps(key: str) -> tuple[str, ...]:
    """Split a dotted, perhaps quoted key; TOML itself knows best how."""
    value: object = tomllib.loads(f"{key} = 0")
    steps: list[str] = []
    while isinstance(value, dict):
        ((step, value),) = value.items()
        steps.append(step)
    return tuple(steps)


def _through_arrays(
    steps: tuple[str, ...], counts: Mapping[KeyPath, int], *, whole: bool
) -> KeyPath:
    """Put in the index of the current element wherever the path goes through an array."""
    path: KeyPath = ()
    for position, step in enumerate(steps):
        path = (*path, step)
        if path in counts and (whole or position < len(steps) - 1):
            path = (*path, counts[path] - 1)
    return path
