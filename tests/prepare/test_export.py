"""Weights made ONNX by a recipe's script."""

import hashlib
import sys
from pathlib import Path

import pytest
import tiny_models

from edgekit.core.errors import ModelError
from edgekit.core.events import StepFinished, ignore
from edgekit.core.model import FileRef
from edgekit.core.recipe import Export
from edgekit.prepare.export import cached_export, export_model

SCRIPT = """
import sys
from pathlib import Path
weights, output = map(Path, sys.argv[1:])
output.write_bytes(weights.read_bytes()[::-1])
"""
WEIGHTS = b"weights"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(WEIGHTS)
    return FileRef(path, hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS))


@pytest.fixture
def recipe(tmp_path):
    def make(script=SCRIPT, sha256=None):
        (tmp_path / "export.py").write_text(script)
        (tmp_path / "requirements.txt").write_text("numpy==2\n")
        export = Export(tmp_path / "export.py", tmp_path / "requirements.txt", sha256)
        return tiny_models.recipe(export=export)

    return make


def export(recipe, weights, emit=ignore):
    return export_model(recipe, weights, python=Path(sys.executable), emit=emit)


def test_script_is_run_once(recipe, weights, events):
    made = export(recipe(sha256=hashlib.sha256(WEIGHTS[::-1]).hexdigest()), weights)
    assert made.path.read_bytes() == WEIGHTS[::-1]
    again = export(recipe(sha256=made.sha256), weights, events)
    assert again == made
    assert events.of(StepFinished)[0].detail == "cached"


def test_changed_script_is_run_again(recipe, weights):
    assert cached_export(recipe(), weights) is None
    first = export(recipe(), weights)
    assert cached_export(recipe(), weights) == first
    other = recipe(SCRIPT.replace("[::-1]", "[::2]"))
    assert cached_export(other, weights) is None
    assert export(other, weights).sha256 != first.sha256


def test_lost_output_is_made_again(recipe, weights):
    made = export(recipe(), weights)
    made.path.unlink()
    assert cached_export(recipe(), weights) is None
    assert export(recipe(), weights).path.read_bytes() == WEIGHTS[::-1]


def test_failing_script_shows_its_last_lines(recipe, weights, events):
    with pytest.raises(ModelError, match="no such layer"):
        export(recipe("raise SystemExit('no such layer')"), weights, events)
    assert not events.of(StepFinished)[-1].ok


def test_other_output_than_promised_is_refused(recipe, weights, own_cache):
    with pytest.raises(ModelError, match="expected 0000"):
        export(recipe(sha256="0" * 64), weights)
    assert not list((own_cache / "content").glob("??/*"))


def test_recipe_without_an_export_keeps_its_file(weights):
    assert export(tiny_models.recipe(), weights) is weights
    assert cached_export(tiny_models.recipe(), weights) is weights
