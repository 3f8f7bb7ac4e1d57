"""Targets and recipes as tables and lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgekit.core.model import StepSpec
from edgekit.core.recipe import Calibration, Evaluation, Recipe, Samples
from edgekit.core.target import Target
from edgekit.report.table import Column, Table


def target_table(targets: Sequence[Target]) -> Table:
    """One row per kind of board."""
    columns = tuple(Column(name) for name in ("target", "board", "SoC", "cores", "userland"))
    rows = tuple(
        (target.name, target.title, target.soc, _cores(target), target.architecture)
        for target in targets
    )
    return Table(columns, rows)


def target_lines(target: Target) -> tuple[str, ...]:
    """Every fact of one kind of board, with where it is published."""
    facts: list[tuple[str, str]] = [
        ("target", f"{target.name}: {target.title}"),
        ("SoC", target.soc),
        ("userland", f"{target.architecture} ({target.triple})"),
        ("cores", _cores(target)),
        ("compiler", f"-mcpu={target.mcpu}"),
        ("features", " ".join(target.features)),
        ("memory", ", ".join(f"{size} MB" for size in target.memory_mb)),
        *(
            ("accelerator", _joined(each.name, each.kind, each.note))
            for each in target.accelerators
        ),
        *(
            ("power sensor", f"{rail.label}: {rail.sensor}, covers the {rail.scope}")
            for rail in target.power_rails
        ),
        ("compatible", ", ".join(target.compatible)),
        ("flash", ", ".join(target.flash_methods)),
        ("usb boot", _usb_boot(target)),
        ("pythons", ", ".join(target.pythons)),
        ("glibc", ", ".join(target.glibc)),
        *(("source", f"{', '.join(source.keys)}: {source.reference}") for source in target.sources),
        ("defined in", str(target.defined_in)),
    ]
    return _lines(facts)


def recipe_table(recipes: Sequence[Recipe]) -> Table:
    """One row per model."""
    columns = tuple(Column(name) for name in ("recipe", "model", "task", "source", "licence"))
    rows = tuple(
        (recipe.name, recipe.title, recipe.task, recipe.source.kind, recipe.licence)
        for recipe in recipes
    )
    return Table(columns, rows)


def recipe_lines(recipe: Recipe) -> tuple[str, ...]:
    """Every fact of one model."""
    source = recipe.source
    origin = source.url or source.path or f"{source.package} {source.version}: {source.member}"
    facts = [
        ("recipe", f"{recipe.name}: {recipe.title}"),
        ("task", recipe.task),
        ("source", f"{source.kind} {origin}"),
        (
            "file",
            f"{source.filename}" + (f", {source.size_bytes} bytes" if source.size_bytes else ""),
        ),
        ("sha256", source.sha256 or ""),
        ("licence", recipe.licence),
        ("homepage", recipe.homepage),
        ("size", "x".join(map(str, recipe.size)) if recipe.size else "the model's own"),
        ("preprocess", _step(recipe.preprocess)),
        ("postprocess", _step(recipe.postprocess)),
        ("samples", _frames(recipe.samples)),
        ("calibration", _frames(recipe.calibration)),
        ("evaluation", _evaluation(recipe)),
        ("classes", _classes(recipe.classes)),
        ("max drop", f"{recipe.max_drop:g}"),
        ("goals", ", ".join(recipe.goals)),
        ("defined in", str(recipe.defined_in)),
    ]
    return _lines(facts)


def recipe_facts(recipe: Recipe) -> Mapping[str, Any]:
    """The recipe as plain JSON values."""
    return {
        **asdict(recipe),
        "source": {**asdict(recipe.source), "path": _text(recipe.source.path)},
        "export": recipe.export
        and {key: _text(value) for key, value in asdict(recipe.export).items()},
        "preprocess": _step_facts(recipe.preprocess),
        "postprocess": _step_facts(recipe.postprocess),
        "evaluation": recipe.evaluation and _evaluation_facts(recipe.evaluation),
        "defined_in": _text(recipe.defined_in),
    }


def _step_facts(step: StepSpec) -> Mapping[str, Any]:
    return {"name": step.name, "parameters": json.loads(step.parameters_json)}


def _evaluation_facts(rules: Evaluation) -> Mapping[str, Any]:
    facts = asdict(rules)
    return {**facts, "postprocess": json.loads(facts.pop("postprocess_json"))}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _cores(target: Target) -> str:
    return " + ".join(
        f"{cluster.count}x {cluster.core} {cluster.max_mhz} MHz" for cluster in target.clusters
    )


def _usb_boot(target: Target) -> str:
    usb = target.usb_boot
    return "" if usb is None else _joined(*usb.ids, usb.board)


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


_SHOWN = 60


def _step(step: StepSpec) -> str:
    parameters = json.loads(step.parameters_json)
    shown = ", ".join(f"{key}={_short(value)}" for key, value in parameters.items())
    return f"{step.name}({shown})"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _frames(frames: Samples | Calibration | Evaluation | None) -> str:
    if frames is None:
        return ""
    labels = "" if isinstance(frames, Samples) else frames.labels
    source = f"{frames.count} {frames.kind} {frames.path}".rstrip()
    return f"{source}, labels {labels}" if labels else source


def _evaluation(recipe: Recipe) -> str:
    rules = recipe.evaluation
    return f"{rules.metric} on {_frames(rules)}" if rules else ""


_LISTED = 8


def _classes(classes: tuple[str, ...]) -> str:
    if not classes:
        return ""
    more = ", ..." if len(classes) > _LISTED else ""
    return f"{len(classes)}: {', '.join(classes[:_LISTED])}{more}"


def _lines(facts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    width = max(len(name) for name, _ in facts)
    return tuple(f"{name.ljust(width)}  {value}" for name, value in facts if value)
