"""An engine that needs no package, so that toolbox and worker are tested without a network."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.core.contracts import ToolboxSpec
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.target import DeviceFacts, PythonFacts, Target


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder))
    return folder


@dataclass
class ScriptEngine:
    """An engine whose build script the test writes; its toolbox is empty."""

    build_script: Path
    toolbox: ToolboxSpec
    settings: str = "{}"
    name: str = "onnxruntime"
    runner_module: str = "edgekit.engines.onnxruntime.runner"

    def build_settings(self, model, precision, target) -> str:
        del model, precision, target
        return self.settings


@pytest.fixture
def toolbox(tmp_path) -> Callable[..., ToolboxSpec]:
    def make(lock: str = "# nothing\n", python: str = ">=3.11") -> ToolboxSpec:
        path = tmp_path / f"host-{hashlib.sha256(lock.encode()).hexdigest()[:8]}.txt"
        path.write_text(lock)
        return ToolboxSpec("test", python, path)

    return make


@pytest.fixture
def engine(tmp_path, toolbox) -> Callable[[str], ScriptEngine]:
    """Make an engine whose ``build(job)`` has this body."""

    def make(body: str) -> ScriptEngine:
        script = tmp_path / "build.py"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        script.write_text(f"import os, signal, time\ndef build(job):\n{lines}")
        return ScriptEngine(script, toolbox())

    return make


@pytest.fixture
def model(tmp_path) -> Model:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not read by these builds")
    file = FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    spec = (TensorSpec("x", "float32", (1, 2)),)
    step = StepSpec("tensor")
    pipeline = Pipeline(step, step)
    return Model("m", file, file, file.sha256, spec, spec, (), False, pipeline, pipeline)


@pytest.fixture
def target() -> Target:
    return Target("local", "", "", "x86_64", (), "native", "")


@pytest.fixture
def facts() -> Callable[..., DeviceFacts]:
    def make(machine="aarch64", python="3.11.2", glibc="2.36", libc="glibc") -> DeviceFacts:
        return DeviceFacts(
            hostname="board",
            machine=machine,
            kernel="",
            os_name="",
            libc=libc,
            libc_version=glibc,
            model=None,
            compatible=(),
            cpu_parts=(),
            cpu_features=(),
            cpu_count=1,
            cpu_usable=1,
            memory_total_bytes=None,
            memory_available_bytes=None,
            disk_free_bytes=None,
            pythons=(PythonFacts("/usr/bin/python3", python),),
            agent_version="",
            home="",
            emulated=False,
        )

    return make
