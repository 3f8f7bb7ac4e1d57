"""A tiny model in normal form, and a way to run a runner on this machine as a board would."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from uv import find_uv_bin

from edgekit.catalog.targets import load_target, target_names
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import Engine
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.quantisation import CalibrationSet
from edgekit.core.target import DeviceFacts, PythonFacts, Target
from edgekit.engines import load_engine
from edgekit.toolbox.interpreters import search_path

TENSOR = StepSpec("tensor")
SAMPLES = 16
SAMPLE_SEED = 11
PLAN = {
    "warmup_runs": 2,
    "warmup_seconds": 0.0,
    "min_runs": 5,
    "min_seconds": 0.0,
    "max_seconds": 60.0,
}


def write_model(path: Path, operator: str = "Relu") -> Model:
    """Write a convolution, ``operator`` and two outputs; return it as prepare would."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(7)
    weights = random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    shapes = {"x": (1, 3, 9, 7), "second": (1, 4), "first": (1, 4, 9, 7)}

    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["c"], ["first"], name="activation"),
        helper.make_node("GlobalAveragePool", ["first"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["second"], name="flat", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("x")],
        [value("second"), value("first")],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.arange(4, dtype=np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    path.write_bytes(data)
    file = FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
    pipeline = Pipeline(TENSOR, TENSOR)
    return Model(
        name="tiny",
        onnx=file,
        reference=file,
        source_sha256=file.sha256,
        inputs=(TensorSpec("x", "float32", shapes["x"]),),
        outputs=tuple(TensorSpec(name, "float32", shapes[name]) for name in ("second", "first")),
        operators=tuple(sorted({node.op_type for node in nodes})),
        head_cut=False,
        pipeline=pipeline,
        reference_pipeline=pipeline,
    )


@pytest.fixture
def tiny(tmp_path) -> Model:
    return write_model(tmp_path / "tiny.onnx")


@pytest.fixture
def make_model(tmp_path) -> Callable[[str], Model]:
    return lambda operator: write_model(tmp_path / f"{operator}.onnx", operator)


@pytest.fixture
def calibrate(tmp_path) -> Callable[..., CalibrationSet]:
    """Seeded samples of a model's inputs, evenly from 0 to 1 like a picture's values."""

    def make(model: Model, *, backwards: bool = False) -> CalibrationSet:
        inputs = []
        for spec in model.inputs:
            random = np.random.default_rng(SAMPLE_SEED)
            stack = random.random((SAMPLES, *spec.shape[1:]), np.float32)
            path = tmp_path / f"samples-{spec.name}-{backwards:d}.npy"
            np.save(path, stack[::-1] if backwards else stack)
            data = path.read_bytes()
            inputs.append((spec.name, FileRef(path, hashlib.sha256(data).hexdigest(), len(data))))
        identity = json.dumps([file.sha256 for _name, file in inputs])
        return CalibrationSet(tuple(inputs), SAMPLES, (), identity)

    return make


@pytest.fixture
def local_target() -> Target:
    return Target("local", "", "", platform.machine(), (), "native", "")


@pytest.fixture
def home(local_target, tiny) -> Callable[[str], Target]:
    """Where an engine is at home: this machine, or the first kind of board with its hardware."""

    def find(name: str) -> Target:
        engine = load_engine(name)
        for target in (local_target, *map(load_target, target_names())):
            refusal = engine.check(tiny, engine.precisions[0], target)
            if refusal is None or not refusal.other_hardware:
                return target
        raise AssertionError(f"no target of edgekit's has the hardware of {name}")

    return find


@pytest.fixture
def buildable() -> Callable[[str], Engine]:
    """An engine, unless its vendor's terms were not accepted here or its Python is not here."""

    def load(name: str) -> Engine:
        engine = load_engine(name)
        licence = engine.toolbox.licence
        # Asked of the user's own environment: tests run under a home of their own.
        accepted = os.environ.get("EDGEKIT_ACCEPT_LICENCE", "").split(",")
        if licence is not None and name not in accepted:
            pytest.skip(f"{licence.name} is not accepted here: EDGEKIT_ACCEPT_LICENCE={name}")
        wanted = engine.toolbox.python
        found = subprocess.run(
            [find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads", wanted],
            env={**os.environ, "PATH": search_path()},
            capture_output=True,
            check=False,
        )
        if found.returncode != 0:
            pytest.skip(f"this machine has no Python {wanted}, in which {name} is built")
        return engine

    return load


@pytest.fixture
def facts() -> Callable[..., DeviceFacts]:
    """Facts of a device; one Python, unless told otherwise."""

    def make(machine=None, pythons=None, glibc="2.36", libc="glibc", numpy=None) -> DeviceFacts:
        return DeviceFacts(
            hostname="board",
            machine=machine or platform.machine(),
            kernel="",
            os_name="",
            libc=libc,
            libc_version=glibc,
            model=None,
            compatible=(),
            cpu_parts=(),
            cpu_features=(),
            cpu_count=2,
            cpu_usable=2,
            memory_total_bytes=None,
            memory_available_bytes=None,
            disk_free_bytes=None,
            pythons=tuple(
                PythonFacts(f"/usr/bin/python{item}", item, numpy)
                for item in (pythons if pythons is not None else ["3.11.2"])
            ),
            agent_version="",
            home="",
            emulated=False,
        )

    return make


@pytest.fixture
def here(facts) -> DeviceFacts:
    """This machine and this Python, as a device."""
    libc, version = platform.libc_ver()
    if libc != "glibc":
        pytest.skip(f"this machine runs {libc or 'an unknown libc'}; wheels exist for glibc")
    return facts(pythons=[platform.python_version()], glibc=version)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Callable[[tuple[BundleFile, ...]], Path]:
    """Wheels as a board has them: in one folder, that no run writes to."""
    folders: dict[tuple[str, ...], Path] = {}

    def unpack(wheels):
        key = tuple(wheel.sha256 for wheel in wheels)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("runtime")
            for wheel in wheels:
                with zipfile.ZipFile(wheel.source) as archive:
                    archive.extractall(folders[key])
        return folders[key]

    return unpack


@pytest.fixture
def run_runner(tmp_path, unpacked) -> Callable[..., tuple[subprocess.CompletedProcess[str], Path]]:
    """Lay out a bundle and a job as the agent does, and run it; give process and job folder."""

    def run(
        files, wheels, model, engine, precision, frames,
        *, python=sys.executable, variables=None, **changes,
    ):  # fmt: skip
        bundle, job_folder = (tmp_path / name for name in ("bundle", "job"))
        for folder in (bundle, job_folder):
            folder.mkdir(exist_ok=True)
        for file in files:
            (bundle / file.path).write_bytes(file.source.read_bytes())
        step = {"name": "tensor", "parameters": {}}
        job = {
            "folder": str(bundle),
            "job": {
                "inputs": [asdict(spec) for spec in model.inputs],
                "outputs": [asdict(spec) for spec in model.outputs],
                "preprocess": step,
                "postprocess": step,
            },
            "engine": engine,
            "precision": precision,
            "knobs": {"threads": 1},
            "kind": "infer",
            "frames": [str(frame) for frame in frames],
            "plan": PLAN,
            "output": str(job_folder),
            **changes,
        }
        (job_folder / "job.json").write_text(json.dumps(job))
        done = subprocess.run(
            [python, "-B", str(bundle / "runner.pyz"), str(job_folder / "job.json")],
            cwd=job_folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(unpacked(tuple(wheels))),
                **(variables or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done, job_folder

    return run


@pytest.fixture
def in_toolbox():
    """Run a program in TVM's toolbox beside the pipeline; return what it printed as JSON."""
    from edgekit.core.events import ignore
    from edgekit.toolbox.environments import environment

    engine = load_engine("tvm")
    folder = engine.build_script.parent

    def run(program, *arguments):
        python = environment(engine.toolbox, emit=ignore).python
        lines = [
            "import importlib, json, sys, types",
            "package = sys.modules['tvm_build'] = types.ModuleType('tvm_build')",
            f"package.__path__ = [{str(folder)!r}]",
            "importlib.import_module('tvm_build.tune_kernel').leave_out_gpus()",
            "pipeline = importlib.import_module('tvm_build.build_pipeline')",
            program,
        ]
        command = [str(python), "-I", "-c", "\n".join(lines), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
