"""``bench`` where clocks, heat and power are the kernel's own, and ``compare`` after it."""

import json

import pytest

from edgekit.app.bench import bench
from edgekit.app.bench_options import BenchOptions
from edgekit.app.compare import compare_runs
from edgekit.app.options import DeployOptions

pytestmark = [
    pytest.mark.board,
    pytest.mark.machine,
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.toolbox,
    pytest.mark.timeout(1500),
]

SHORT = BenchOptions(seconds=4.0, runs=3, budget_s=0.0, idle_s=1.0, power_hz=5.0)


@pytest.fixture
def measured(system_board, tmp_path, monkeypatch):
    """Bench a small net with ncnn on the board; return the report."""
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("EDGEKIT_RESULTS_DIR", str(tmp_path / "results"))

    def measure(threads):
        options = DeployOptions(
            "shapes",
            target="rk3566",
            device=f"virtual:{system_board.name}",
            engines=("ncnn",),
            precisions=("fp32",),
            threads=threads,
            frames=1,
            evaluate=1,
            quick=True,
        )
        return bench(options, options, SHORT)

    return measure


def kinds(report):
    return {reason.kind for reason in report.results[0].validity.reasons}


def test_runs_that_differ_in_threads_and_throttling_are_told_apart_by_these(measured, as_root):
    first = measured(2)
    # Nothing speaks against it but that it is emulated, and its host's unevenness.
    assert kinds(first) <= {"emulated", "noisy"}
    power = first.results[0].power
    assert {rail["sensor"].split()[0] for rail in power.details["rails"]} >= {"ina226", "ina3221"}
    assert {rail["sampler_loop"] for rail in power.details["rails"]} == {"c"}
    heat = "until pgrep -f [r]unner.pyz; do sleep 0.3; done; sleep 2"
    as_root(f"nohup sh -c '{heat}; virtual-sensors temperature 95000' >/dev/null 2>&1 &")
    second = measured(1)
    assert {"throttled", "emulated"} <= kinds(second)
    assert second.results[0].measurement.fps is None
    found = compare_runs(str(first.run_dir), str(second.run_dir))
    assert sorted(cause.kind for cause in found.causes) == ["threads", "throttling"]
    throttling = next(cause for cause in found.causes if cause.kind == "throttling")
    assert throttling.factor is not None
    assert throttling.factor > 1
    table = json.loads((second.run_dir / "result.json").read_text())
    assert table["valid"] is False
