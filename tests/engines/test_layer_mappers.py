"""Each engine's layers in the names of the ONNX model, as the engine itself tells them here."""

import json

import numpy as np
import pytest

from edgekit.core.events import ignore
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import engine_names, load_engine
from edgekit.engines.onnx_layers import OnnxGraph, Row, load_mapper
from edgekit.toolbox.build import build
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.twins import FILE, twins, twins_of
from edgekit.toolbox.wheels import resolve

CANDIDATES = [
    (name, precision)
    for name in engine_names()
    if load_mapper(name) is not None
    for precision in load_engine(name).precisions
]

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]


@pytest.fixture
def profiled(tiny, home, here, calibrate, buildable, run_runner, tmp_path):
    """Build the tiny model, profile it as the agent would; return rows, groups and the graph."""

    def run(name, precision):
        engine, target = buildable(name), home(name)
        if engine.check(tiny, precision, target) is not None:
            pytest.skip(f"{name} has no {precision} here")
        int8 = None
        if precision == "int8":
            int8 = Int8(Quantisation(engine.methods[0]), calibrate(tiny))
        files = build(engine, tiny, precision, target, int8=int8, emit=ignore)
        runtime = engine.runtime(target, here)
        wheels = resolve(runtime, here, emit=ignore).wheels
        frame = tmp_path / "0.npz"
        np.savez(frame, x=np.random.default_rng(5).random((1, 3, 9, 7), np.float32))
        done, folder = run_runner(
            [*files, pack_runner(engine)], wheels, tiny, name, precision, [frame], kind="profile"
        )
        assert done.returncode == 0, done.stderr
        made = json.loads((folder / "result.json").read_text())["made"]
        told = json.loads((folder / "layers.json").read_text())
        rows = [
            Row(row["name"], row["operator"], row["unit"], row["time_ns"], facts=row)
            for row in told["layers"]
        ]
        graph = OnnxGraph(tiny.onnx.path)
        places = {file.path: file.source for file in files}
        places |= {item: folder / item for item in made}
        plain = build(engine, tiny, "fp32", target, emit=ignore)
        found = twins(engine, tiny, plain, emit=ignore)
        if "values.json" in places:
            told_here = places["inputs.npz"], places["values.json"], tmp_path / FILE
            found = twins_of(tiny, *told_here)
        places |= {FILE: found} if found else {}
        return told, rows, graph.grouped(load_mapper(name)(rows, graph, places)), graph

    return run


@pytest.mark.parametrize(("name", "precision"), CANDIDATES)
def test_layers_are_nodes_of_the_model_each_in_one_layer_at_most(profiled, name, precision):
    told, rows, groups, graph = profiled(name, precision)
    assert told["runs"] >= 5
    assert all(row.time_ns >= 0 and row.unit for row in rows)
    # No layer is lost or told twice.
    assert sorted(at for group in groups for at in group.rows) == list(range(len(rows)))
    nodes = [node for group in groups for node in group.nodes]
    assert len(nodes) == len(set(nodes))
    assert set(nodes) <= {node.name for node in graph.nodes}
    # The one with the work in it is found; TVM's are by values, which differ but at fp32.
    assert "stem" in nodes or (name == "tvm" and precision != "fp32")
