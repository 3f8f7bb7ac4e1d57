"""The recipes' promises, kept by the published files themselves."""

import json
import sys

import numpy as np
import pytest

from edgekit.catalog.recipes import load_recipe
from edgekit.core.events import ignore
from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
from edgekit.prepare.export import export_model
from edgekit.prepare.fetch import fetch_model

pytestmark = [pytest.mark.network, pytest.mark.slow]


def steps_of(recipe):
    size = list(recipe.size)
    before = json.loads(recipe.preprocess.parameters_json)
    after = json.loads(recipe.postprocess.parameters_json)
    if recipe.postprocess.name == "db":
        after["size"] = size
    return (
        PREPROCESS[recipe.preprocess.name]({**before, "size": size}),
        POSTPROCESS[recipe.postprocess.name](after),
    )


def answers(recipe, model, frame):
    import onnxruntime

    before, after = steps_of(recipe)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (tensor,) = before(frame).values()
    (output,) = session.run(None, {name: tensor})
    return after({"output": output}, frame.shape)


def test_ppocr_finds_and_reads_drawn_text():
    import cv2

    frame = np.full((480, 640, 3), 230, np.uint8)
    cv2.putText(frame, "EDGEKIT 2026", (90, 250), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (20, 20, 20), 4)
    detector, reader = load_recipe("ppocr-det"), load_recipe("ppocr-rec")
    found = answers(detector, fetch_model(detector.source, emit=ignore).path, frame)
    assert len(found) == 1
    x0, y0, x1, y1 = map(round, found[0][:4])
    assert (abs(x0 - 90) < 20, abs(y1 - 250) < 20) == (True, True)
    line = np.ascontiguousarray(frame[y0:y1, x0:x1])
    ((text, score),) = answers(reader, fetch_model(reader.source, emit=ignore).path, line)
    assert text == "EDGEKIT 2026"
    assert score > 0.9


def test_efficientnet_lite0_export_is_the_promised_file():
    """This Python has what the script needs: NumPy and onnx, no PyTorch."""
    from pathlib import Path

    recipe = load_recipe("efficientnet-lite0")
    weights = fetch_model(recipe.source, emit=ignore)
    model = export_model(recipe, weights, python=Path(sys.executable), emit=ignore)
    assert model.sha256 == recipe.export.sha256
    flat = np.zeros((300, 400, 3), np.uint8)
    best = answers(recipe, model.path, flat)
    assert len(best) == 5
    assert 0 < best[0][1] <= 1
