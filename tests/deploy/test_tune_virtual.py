"""Tuning by instructions counted on an emulated board: the same in every run, and no speed."""

import hashlib
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.app.bundles import assemble, feasible
from edgekit.app.counting import Inference, count_inference
from edgekit.app.devices import locate, open_device
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.scopes import scope_of
from edgekit.app.tuned import with_records
from edgekit.board.requirements import counting_requirement
from edgekit.board.user_mode import find_board
from edgekit.catalog.targets import load_target
from edgekit.cli.main import run
from edgekit.core.bundle import BundleFile
from edgekit.core.candidate import Candidate
from edgekit.core.events import ignore
from edgekit.tune.records import RECORDS_FILE, open_records

pytestmark = [
    pytest.mark.board,
    pytest.mark.slow,
    pytest.mark.toolbox,
    pytest.mark.network,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("virtual_boards"),
]

TARGET = "rk3566"
SHAPE = (1, 16, 28, 28)
TASKS = 3  # the convolution, and a change of layout before and after it
TRIALS = 12


@pytest.fixture(autouse=True)
def where_a_board_can_count():
    if not counting_requirement().present:
        pytest.skip("counting needs on this host: qemu-user")


@pytest.fixture
def convolution(tmp_path):
    """Write a model of one small convolution; return its path."""
    weights = np.linspace(-1, 1, 16 * 16 * 9, dtype=np.float32).reshape(16, 16, 3, 3)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "one.onnx"
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def kept_costs(folder):
    """Return the costs of each candidate by task and trace, in the scope of counted ones."""
    with open_records(folder / RECORDS_FILE) as records:
        assert {each.scope.cost for each in records.scopes()} == {"instructions"}
        found = records.trials(scope_of(load_target(TARGET), cost="instructions"))
        return {(trial.task, trial.trace): trial.costs for trial in found}


def best_of_all(costs):
    """Return the sum of each task's least cost."""
    best = {}
    for (task, _trace), (cost,) in costs.items():
        best[task] = min(cost, best.get(task, cost))
    assert len(best) == TASKS
    return sum(best.values())


def inference_count(path, tmp_path):
    """Return what one inference executes, built with what is on record, and whether any was."""
    target = load_target(TARGET)
    model = prepared_model(resolve_recipe(str(path)), None, emit=ignore)
    frame = tmp_path / "frame.npz"
    np.savez(frame, x=np.full(SHAPE, 0.5, np.float32))
    data = frame.read_bytes()
    sent = BundleFile(frame.name, hashlib.sha256(data).hexdigest(), len(data), frame)
    with open_device(locate("virtual", TARGET), target, emit=ignore) as device:
        plan = feasible(Candidate("tvm", "fp32", (("threads", 1),)), model, target, device.facts)
        tuned = with_records(plan, model, target, emulated=device.facts.emulated, emit=ignore)
        bundle = assemble(tuned or plan, model, target, device.facts, emit=ignore)
        device.push([*bundle.content, sent])
        device.install(bundle)
        inference = Inference(bundle.identity, sent.sha256)
        counted = count_inference(device, find_board(TARGET), inference)
    return counted.instructions, tuned is not None


def test_tuning_by_instructions_is_the_same_twice_and_makes_fewer_of_them(
    convolution, own_state, monkeypatch, capsys
):
    command = ["tune", str(convolution), "--target", TARGET, "--device", "virtual"]
    command += ["--cost", "instructions", "--trials", str(TRIALS)]
    costs = []
    for name in ("first", "second"):
        monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(own_state / name))
        assert run(command) == 0
        said = "".join(capsys.readouterr())
        assert "instructions by the best of each task" in said
        assert not re.search(r"\bFPS\b|FLOPS|\d ms\b", said), said
        costs.append(kept_costs(own_state / name))
    assert costs[0] == costs[1], "a candidate that was counted twice had two counts"
    assert len(costs[0]) == TRIALS
    best = best_of_all(costs[0])

    assert run(["records", "list", "--tasks"]) == 0
    said = capsys.readouterr().out
    assert "instructions" in said
    assert not re.search(r"\bFPS\b|FLOPS", said), said

    tuned, with_them = inference_count(convolution, own_state)
    monkeypatch.setenv("EDGEKIT_RECORDS_DIR", str(own_state / "none"))
    untuned, without = inference_count(convolution, own_state)
    assert (with_them, without) == (True, False)
    # The kernels, and what calls them.
    assert best < tuned < untuned
