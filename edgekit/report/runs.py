"""The folder of one run: what was asked, what came out, and the raw samples behind it."""

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.bench import BenchReport
from edgekit.core.candidate import CandidateResult
from edgekit.core.report import Report


def new_run_id(recipe: str, target: str) -> str:
    """Make an id that sorts by time and says what ran."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{stamp}-{recipe}-{target}-{secrets.token_hex(2)}"


def write_run(report: Report, *, asked: Mapping[str, Any]) -> Path:
    """Write the run's folder; return the path of its ``result.json``.

    ``asked.json`` holds the resolved options, ``result.json`` the report,
    ``samples/<engine>-<precision>.json`` the raw durations in nanoseconds.
    """
    folder = report.run_dir
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    _write(folder / "asked.json", asked)
    for row in report.candidates:
        if row.measurement:
            name = f"{row.candidate.engine}-{row.candidate.precision}.json"
            _write(folder / "samples" / name, _samples(row))
    return _write(folder / "result.json", report.as_json())


def write_bench(report: BenchReport, *, asked: Mapping[str, Any]) -> Path:
    """Write a bench's folder; return its ``result.json``.

    As :func:`write_run`, and ``health/<engine>-<precision>.json`` with the device's state before,
    during and after.
    """
    folder = report.run_dir
    for name in ("samples", "health"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write(folder / "asked.json", asked)
    for result in report.results:
        subject, measured = result.subject, result.measurement
        name = f"{subject.engine}-{subject.precision}.json"
        samples = {
            "engine": subject.engine,
            "precision": subject.precision,
            "knobs": dict(subject.knobs),
            "emulated": measured.emulated,
            "versions": dict(measured.versions),
            "model_ns": measured.samples_ns,
            "end_to_end_ns": measured.end_to_end_samples_ns,
        }
        _write(folder / "samples" / name, samples)
        looks = [snapshot.as_json() for snapshot in result.health]
        _write(folder / "health" / name, {"snapshots": looks})
    return _write(folder / "result.json", report.as_json())


def _samples(row: CandidateResult) -> Mapping[str, Any]:
    measured = row.measurement
    assert measured is not None  # noqa: S101 - the caller looked
    return {
        "engine": row.candidate.engine,
        "precision": row.candidate.precision,
        "knobs": dict(row.candidate.knobs),
        "emulated": measured.emulated,
        "versions": dict(measured.versions),
        "model_ns": measured.samples_ns,
        "end_to_end_ns": measured.end_to_end_samples_ns,
    }


def _write(path: Path, value: Mapping[str, Any]) -> Path:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - atomic on purpose, said by name
    return path
