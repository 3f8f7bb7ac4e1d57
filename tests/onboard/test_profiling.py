"""The time of each layer: what a session tells, summed up and handed over."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.profiling import FILE, Layers, profile

PLAN = {
    "warmup_runs": 1,
    "warmup_seconds": 0,
    "min_runs": 3,
    "min_seconds": 0,
    "max_seconds": 60,
}


class Session:
    """Two layers, of which the second is computed twice; the times are the test's."""

    times = ((5, 1), (9, 2), (7, 30))

    def run(self, inputs):
        return {"y": inputs["x"]}

    def profile(self, inputs, runs, layers, folder):
        assert runs == len(self.times)
        for first, second in self.times:
            layers.see("a", first, lambda: {"name": "a", "operator": "Conv", "unit": "CPU"})
            for _again in range(2):
                layers.see("b", second, lambda: {"name": "b", "operator": "Add", "unit": "CPU"})
            layers.end_run()
        for name in ("graph.txt", "large.bin"):
            Path(folder, name).write_text(name)
        layers.files["graph.txt"] = f"{folder}/graph.txt"
        layers.method = "by hand"


def test_profile_tells_medians_in_the_order_of_computing(tmp_path):
    made = profile(Session(), {"x": np.zeros(2)}, PLAN, str(tmp_path))
    told = json.loads(Path(made[FILE]).read_text())
    assert [(row["name"], row["time_ns"]) for row in told["layers"]] == [("a", 7), ("b", 4)]
    assert told["layers"][0] == {"name": "a", "operator": "Conv", "unit": "CPU", "time_ns": 7}
    assert (told["runs"], told["method"]) == (3, "by hand")
    assert told["model_ns"] >= 0
    # Of 5 + 2, 9 + 4 and 7 + 60.
    assert (told["run_ns"], told["fastest_run_ns"]) == (13, 7)
    assert 0 <= told["fastest_model_ns"] <= told["model_ns"]


def test_profile_leaves_no_file_but_those_for_the_host(tmp_path):
    made = profile(Session(), {"x": np.zeros(2)}, PLAN, str(tmp_path))
    assert set(made) == {FILE, "graph.txt"}
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {FILE, "graph.txt"}


def test_session_that_cannot_tell_fails_the_run(tmp_path):
    plain = type("Plain", (), {"run": lambda _self, inputs: inputs})
    with pytest.raises(RunFailedError, match="cannot tell the time of its layers"):
        profile(plain(), {}, PLAN, str(tmp_path))


def test_session_that_tells_nothing_fails_the_run(tmp_path):
    silent = type("Silent", (Session,), {"profile": lambda *_arguments: None})
    with pytest.raises(RunFailedError, match="told the time of no layer"):
        profile(silent(), {"x": np.zeros(2)}, PLAN, str(tmp_path))


def test_session_that_breaks_says_at_what(tmp_path):
    def broken(*_arguments):
        raise ValueError("no counters here")

    session = type("Broken", (Session,), {"profile": broken})
    with pytest.raises(RunFailedError, match=r"profiling the layers failed: .*no counters here"):
        profile(session(), {"x": np.zeros(2)}, PLAN, str(tmp_path))


def test_layer_that_one_run_lacks_counts_where_it_was_computed():
    layers = Layers()
    for time_ns in (4, 6):
        layers.see("a", time_ns, lambda: {"name": "a"})
        layers.end_run()
    layers.see("b", 1, lambda: {"name": "b"})
    layers.end_run()
    told = layers.as_json()["layers"]
    assert [(row["name"], row["time_ns"]) for row in told] == [("a", 5), ("b", 1)]
