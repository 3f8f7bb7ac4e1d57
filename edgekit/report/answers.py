"""A model's answers to images, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.report.table import Column, Table

_BOX_FIELDS = 6

Answered = Sequence[tuple[str, Any]]


def answer_facts(images: Answered, classes: Sequence[str]) -> list[Mapping[str, Any]]:
    """One entry per image, with its answers under names."""
    return [
        {"image": image, "answers": [_named(answer, classes) for answer in answers or ()]}
        for image, answers in images
    ]


def answer_table(images: Answered, classes: Sequence[str]) -> Table:
    """One row per answer; an image without any has a row that says so."""
    columns = (Column("image"), Column("answer"), Column("score", numeric=True), Column("box"))
    rows: list[tuple[str, ...]] = []
    for image, answers in images:
        for answer in answers or ():
            named = _named(answer, classes)
            box = " ".join(f"{edge:.0f}" for edge in named.get("box", ()))
            rows.append((image, str(named["label"]), f"{named['score']:.3f}", box))
        if not answers:
            rows.append((image, "nothing", "", ""))
    return Table(columns, tuple(rows))


def _named(answer: Sequence[Any], classes: Sequence[str]) -> Mapping[str, Any]:
    """Name the fields of a detection, a class with its score, or a text with its score."""
    if len(answer) == _BOX_FIELDS:
        *box, score, index = answer
        return {"label": _label(index, classes), "score": score, "box": box}
    label, score = answer
    return {"label": label if isinstance(label, str) else _label(label, classes), "score": score}


def _label(index: float, classes: Sequence[str]) -> str:
    return classes[int(index)] if 0 <= int(index) < len(classes) else str(int(index))
