"""What the first board made goes with the deployment, to it and to boards like it."""

from dataclasses import replace

import pytest

from edgekit.engines import load_engine

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

DEPLOY = (
    "deploy", "shapes", "--target", "local", "--engine", "onnxruntime", "--precision", "fp32",
    "--quick", "--runs", "5", "--seconds", "0.05", "--evaluate", "24",
)  # fmt: skip
MADE = "optimised.onnx"


@pytest.fixture(autouse=True)
def ending_engine(monkeypatch, tmp_path):
    """Let ONNX Runtime end its builds on the device, in a minute at most."""
    engine = type(load_engine("onnxruntime"))
    monkeypatch.setattr(engine, "runner_module", "tests.deploy.runner_ending")
    runtime = engine.runtime

    def ending(self, target, facts):
        return replace(runtime(self, target, facts), first_load_s=60.0)

    monkeypatch.setattr(engine, "runtime", ending)
    monkeypatch.setattr("edgekit.app.prebuilt.cache_root", lambda: tmp_path / "kept")


@pytest.fixture
def on_board(edgekit, monkeypatch, tmp_path):
    """Deploy to a board by its name; give what came of it and what was made on the board."""

    def deploy(name, *options):
        home, root = tmp_path / name / "home", tmp_path / name / "device"
        home.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("ENDING_HOME", str(home))
        monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(root))
        done = edgekit(*DEPLOY, *options)
        assert done.code == 0
        active = root / "bundles" / done.result["active"]["current"]
        assert done.result["active"]["current"] == done.result["chosen"]["bundle"]
        return done, active, [path.name for path in home.iterdir()]

    return deploy


def told(done):
    return [line["text"] for line in done.lines if "ends this build" in line.get("text", "")]


def test_first_board_makes_it_and_every_deployment_after_it_is_the_same(on_board, quiet):
    first, active, made = on_board("first")
    assert made == [MADE]
    assert len(told(first)) == 1
    assert (active / MADE).is_file()
    size_bytes = (active / MADE).stat().st_size

    again, same, _ = on_board("first")
    assert same == active
    assert again.result["transfer"]["bytes_sent"] == 0
    assert again.result["active"]["generation"] == first.result["active"]["generation"]
    assert not again.judged()
    assert again.result["candidates"] == first.result["candidates"]

    second, there, made = on_board("second", "--fresh")
    assert second.judged()
    assert made == []
    assert told(second) == []
    assert there.name == active.name
    assert (there / MADE).stat().st_size == size_bytes
