"""Run every benchmark, one process each and one after the other; show one table, keep one file.

Usage: ``python -m benchmarks [NAME ...]`` (all of them without a name).

A benchmark is a script in this folder that prints one JSON object a line:
``{"figure": what it is, "value": number or null, "goal": in words, "ok": true|false|null}``
(``ok`` null: could not be measured here, ``note`` says why). Whatever else it has to say goes to
standard error.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TIMEOUT_S = 3600


def main() -> int:
    """Run what was asked for; return 1 if a figure missed its goal or a benchmark failed."""
    known = {file.stem: file for file in sorted(HERE.glob("[a-z]*.py"))}
    names = sys.argv[1:] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; known: {', '.join(known)}")
        return 2
    figures: list[dict[str, Any]] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += run_one(name, known[name])
    show(figures)
    print(f"kept in {keep(figures).relative_to(ROOT)}")
    return 0 if all(figure["ok"] is not False for figure in figures) else 1


def run_one(name: str, script: Path) -> list[dict[str, Any]]:
    """Run one script; a crash is a figure that is not ok."""
    # Byte code is cached, as it is for every user who did not forbid it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # Each benchmark has peers beside it and repeats of its own: edgekit is to measure once.
    environment |= {"EDGEKIT_ACCEPT_INVALID": "true", "EDGEKIT_REPEAT_BUDGET_S": "0"}
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=ROOT,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return [failed(name, f"no end after {TIMEOUT_S} s")]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    figures = [{"benchmark": name, **json.loads(line)} for line in lines]
    if done.returncode or not figures:
        figures.append(failed(name, f"exit status {done.returncode}, {len(figures)} figures"))
    return figures


def failed(name: str, note: str) -> dict[str, Any]:
    """Make the row of a benchmark that broke."""
    return {"benchmark": name, "figure": name, "value": None, "goal": "", "ok": False, "note": note}


def show(figures: list[dict[str, Any]]) -> None:
    """Print the table."""
    words = {True: "ok", False: "MISSED", None: "not measured"}
    rows = [("figure", "value", "goal", "", "")]
    for figure in figures:
        value = figure["value"]
        shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        verdict = words[figure["ok"]]
        note = str(figure.get("note", ""))
        rows.append((figure["figure"], shown, figure["goal"], verdict, note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def keep(figures: list[dict[str, Any]]) -> Path:
    """Write the figures with what made them."""
    now = datetime.now(UTC)
    folder = ROOT / "bench-results"
    folder.mkdir(exist_ok=True)
    file = folder / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
    record = {
        "taken_at": now.isoformat(timespec="seconds"),
        "commit": commit or None,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg(),
        "packages": {each.metadata["Name"]: each.version for each in distributions()},
        "figures": figures,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    sys.exit(main())
