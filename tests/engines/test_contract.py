"""What every engine must be; runs over every engine that is found."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog.targets import load_target, target_names
from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError, UnknownNameError
from edgekit.core.events import ignore
from edgekit.core.names import ENGINE_NAMES, PRECISIONS
from edgekit.core.quantisation import CALIBRATION_METHODS, Int8, Quantisation
from edgekit.engines import engine_names, load_engine
from edgekit.engines.operators import operators_of
from edgekit.toolbox.build import build
from edgekit.toolbox.requirements import python_tuple, select
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.wheels import resolve

ENGINES = engine_names()
# Engine, precision and, for int8 alone, the method that chooses its ranges.
CANDIDATES = [
    (name, precision, method)
    for name in ENGINES
    for precision in load_engine(name).precisions
    for method in (load_engine(name).methods if precision == "int8" else (None,))
]
INT8 = [(name, method) for name, _precision, method in CANDIDATES if method is not None]
MIXING = [name for name in ENGINES if load_engine(name).mixes]
# Largest difference from ONNX Runtime, as a share of the output's largest value. In int8 two
# layers round, and what lies beyond a range is clipped, of which kl does the most.
TOLERANCE = {"fp32": 1e-5, "fp16": 2e-2, "int8": 0.1}
KL_TOLERANCE = 0.3
HEAVY = ("numpy", "onnx", "onnxruntime", "ncnn", "uv", "pip", "subprocess")


def test_engines_include_the_reference_and_are_known_names():
    assert "onnxruntime" in ENGINES
    assert set(ENGINES) <= set(ENGINE_NAMES)


def test_load_engine_unknown_says_what_was_meant():
    with pytest.raises(UnknownNameError) as caught:
        load_engine("ncn")
    assert "ncnn" in caught.value.hint


@pytest.mark.parametrize("name", ENGINES)
def test_import_loads_nothing_heavy(name):
    code = (
        "import sys; from edgekit.engines import load_engine; "
        f"load_engine({name!r}); print(*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ENGINES)
def test_facts_are_those_of_the_folder(name):
    engine = load_engine(name)
    assert engine.name == name
    assert engine.precisions
    assert set(engine.precisions) <= set(PRECISIONS)
    assert engine.build_script.is_file()
    assert engine.build_script.parent.name == name
    assert engine.runner_module == f"edgekit.engines.{name}.runner"
    assert operators_of(name) >= {"Conv", "Relu"}


@pytest.mark.parametrize("name", ENGINES)
def test_build_settings_are_canonical_json(name, tiny, home):
    engine = load_engine(name)
    for precision in engine.precisions:
        text = engine.build_settings(tiny, precision, home(name))
        assert text == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize("lock", ["host.txt", "board.txt"])
@pytest.mark.parametrize("name", ENGINES)
def test_requirements_are_locked_by_hash_and_name_no_address(name, lock):
    text = (load_engine(name).build_script.parent / lock).read_text(encoding="utf-8")
    assert "://" not in text
    entries = [line for line in text.splitlines() if "==" in line]
    assert entries
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "==" in entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize("name", ENGINES)
def test_runner_runs_on_python_3_6(name):
    vermin = shutil.which("vermin", path=str(Path(sys.executable).parent))
    if vermin is None:
        pytest.skip("vermin is not installed beside this Python")
    runner = load_engine(name).build_script.with_name("runner.py")
    done = subprocess.run(
        [vermin, "-t=3.6-", "--no-tips", "--violations", str(runner)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def machine_of(name, target, facts):
    """Return the kind of machine on which an engine's runner runs; a board's where it does."""
    engine = load_engine(name)
    pythons = [f"3.{minor}.1" for minor in range(15)]
    for machine in ("aarch64", "x86_64"):
        if isinstance(engine.runtime(target, facts(machine, pythons)), RuntimeSpec):
            return machine
    raise AssertionError(f"the runner of {name} runs nowhere")


def accepted_pythons(name, target, facts, machine):
    """Return the versions of Python on which an engine's runner runs, oldest first."""
    engine = load_engine(name)
    runtimes = {
        f"3.{minor}.1": engine.runtime(target, facts(machine, [f"3.{minor}.1"]))
        for minor in range(15)
    }
    assert all(found.hint for found in runtimes.values() if isinstance(found, Unsupported))
    return [version for version, found in runtimes.items() if isinstance(found, RuntimeSpec)]


@pytest.mark.parametrize("name", ENGINES)
def test_runtime_locks_every_python_it_accepts(name, facts, home):
    engine, target = load_engine(name), home(name)
    machine = machine_of(name, target, facts)
    accepted = accepted_pythons(name, target, facts, machine)
    assert len(accepted) >= 3
    for version in accepted:
        found = engine.runtime(target, facts(machine, [version]))
        assert select(found.requirements, found.packages, version)


@pytest.mark.parametrize("name", ENGINES)
def test_numpy_that_crashes_on_jetsons_is_not_locked(name, facts, home):
    # NumPy 1.19.5 and Python 3.6 (JetPack 4): numpy/numpy#18131.
    found = load_engine(name).runtime(home(name), facts("aarch64", ["3.6.9"]))
    if isinstance(found, Unsupported):
        pytest.skip(found.reason)
    locked = {pin.name: pin.version for pin in select(found.requirements, found.packages, "3.6.9")}
    assert locked["numpy"] == "1.19.4"


@pytest.mark.parametrize("name", ENGINES)
def test_runtime_takes_the_newest_python(name, facts, home):
    target = home(name)
    machine = machine_of(name, target, facts)
    *_, older, newest = accepted_pythons(name, target, facts, machine)
    found = load_engine(name).runtime(target, facts(machine, [older, newest, "2.7.1"]))
    assert isinstance(found, RuntimeSpec)
    assert found.python.version == newest


@pytest.mark.parametrize("name", ENGINES)
def test_runtime_without_glibc_is_unsupported(name, facts, home):
    found = load_engine(name).runtime(home(name), facts("aarch64", libc="musl"))
    assert isinstance(found, Unsupported)
    assert "musl" in found.reason


@pytest.mark.parametrize("name", ENGINES)
def test_int8_comes_with_methods_and_only_then(name):
    engine = load_engine(name)
    assert bool(engine.methods) == ("int8" in engine.precisions)
    assert set(engine.methods) <= set(CALIBRATION_METHODS)
    assert len(set(engine.methods)) == len(engine.methods)
    assert engine.methods or not engine.mixes


@pytest.mark.parametrize("name", ENGINES)
def test_knobs_are_unlike_and_give_a_choice(name, facts, home):
    engine = load_engine(name)
    for precision in engine.precisions:
        knobs = engine.knobs(precision, home(name), facts("aarch64"))
        assert len({knob.name for knob in knobs}) == len(knobs)
        assert "threads" not in {knob.name for knob in knobs}
        for knob in knobs:
            assert len(set(knob.values)) == len(knob.values) >= 2, knob.name
            assert knob.shared is None or knob.shared in knob.values, knob.name


@pytest.mark.parametrize(("name", "precision", "_method"), CANDIDATES)
def test_check_accepts_a_plain_model(name, precision, _method, tiny, home):
    assert load_engine(name).check(tiny, precision, home(name)) is None


@pytest.mark.parametrize("name", ENGINES)
def test_other_hardware_is_refused_alike_by_check_and_runtime(name, tiny, facts):
    engine = load_engine(name)
    for target in map(load_target, target_names()):
        refusal = engine.check(tiny, engine.precisions[0], target)
        runtime = engine.runtime(target, facts(target.architecture))
        refused = isinstance(runtime, Unsupported) and runtime.other_hardware
        assert refused == (refusal is not None and refusal.other_hardware), target.name


@pytest.mark.parametrize("name", ENGINES)
def test_check_names_an_unknown_operator(name, make_model, home):
    from dataclasses import replace

    model = replace(make_model("Relu"), operators=("Conv", "com.example::Wobble"))
    engine = load_engine(name)
    refusal = engine.check(model, engine.precisions[0], home(name))
    assert refusal is not None
    assert "com.example::Wobble" in refusal.reason
    assert "Conv" not in refusal.reason


@pytest.fixture
def wheels_here(local_target, here, facts):
    """What an engine's runner needs on this machine and this Python, if it can run there."""

    def find(name):
        spec = load_engine(name).runtime(local_target, here)
        if isinstance(spec, Unsupported) and spec.other_hardware:
            pytest.skip(spec.reason)
        machine = machine_of(name, local_target, facts)
        *_, newest = accepted_pythons(name, local_target, facts, machine)
        if python_tuple(newest) < sys.version_info[:2]:
            pytest.skip(f"{name} runs on no Python newer than {newest}")
        assert isinstance(spec, RuntimeSpec)
        return resolve(spec, here, emit=ignore).wheels

    return find


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: "-".join(filter(None, item)))
def test_built_model_run_by_the_runner_equals_the_reference(
    candidate, tiny, calibrate, local_target, wheels_here, run_runner, tmp_path
):
    import onnxruntime

    name, precision, method = candidate
    engine = load_engine(name)
    wheels = wheels_here(name)
    int8 = Int8(Quantisation(method), calibrate(tiny)) if method else None
    files = build(engine, tiny, precision, local_target, int8=int8, emit=ignore)
    inputs = [
        np.random.default_rng(seed).random(tiny.inputs[0].shape, np.float32) for seed in range(2)
    ]
    frames = [tmp_path / f"frame-{number}.npz" for number in range(2)]
    for frame, array in zip(frames, inputs, strict=True):
        np.savez(frame, x=array)

    every = (*files, pack_runner(engine))

    done, folder = run_runner(every, wheels, tiny, name, precision, frames, kind="time")
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert len(result["model_ns"]) == 5
    assert len(result["end_to_end_ns"]) == 5
    assert min(result["model_ns"]) > 0
    assert result["load_ns"] > 0
    assert result["memory_peak_bytes"] > 1 << 20
    assert result["versions"][name]

    done, folder = run_runner(every, wheels, tiny, name, precision, frames)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["answers"] == [[], []]
    assert len(result["outputs"]) == 2 * len(tiny.outputs)
    reference = onnxruntime.InferenceSession(
        str(tiny.onnx.path), providers=["CPUExecutionProvider"]
    )
    names = [spec.name for spec in tiny.outputs]
    for output in result["outputs"]:
        expected = reference.run(names, {"x": inputs[output["frame"]]})[names.index(output["name"])]
        found = np.load(folder / output["path"])
        assert list(found.shape) == output["shape"]
        far = np.abs(found - expected).max() / np.abs(expected).max()
        limit = KL_TOLERANCE if method == "kl" else TOLERANCE[precision]
        assert far <= limit, output["name"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize(("name", "method"), INT8)
def test_int8_is_the_same_whatever_the_order_of_samples(
    name, method, tiny, calibrate, home, buildable
):
    if method == "engine":
        pytest.skip("the engine's own quantiser sees the samples in the order they come in")
    engine, chosen = buildable(name), Quantisation(method)
    if engine.toolbox.licence is not None:
        pytest.skip("the vendor's tool writes other bytes at each build, even of the same model")
    made = [
        build(engine, tiny, "int8", home(name), int8=Int8(chosen, samples), emit=ignore)
        for samples in (calibrate(tiny), calibrate(tiny, backwards=True))
    ]
    first, second = ({file.path: file.sha256 for file in files} for files in made)
    assert first == second


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("name", MIXING)
def test_float_layers_change_the_model_and_unknown_ones_fail(
    name, tiny, calibrate, home, buildable
):
    engine, samples = buildable(name), calibrate(tiny)

    def files(*layers):
        int8 = Int8(Quantisation(engine.methods[0], layers), samples)
        made = build(engine, tiny, "int8", home(name), int8=int8, emit=ignore)
        return {file.path: file.sha256 for file in made}

    assert files("stem") != files()
    with pytest.raises(BuildError) as caught:
        files("no-such-layer")
    assert "no-such-layer" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("name", ENGINES)
def test_second_build_and_resolve_start_no_process(
    name, tiny, home, here, facts, monkeypatch, buildable
):
    engine, target = buildable(name), home(name)
    precision = engine.precisions[0]
    machine = machine_of(name, target, facts)
    newest = accepted_pythons(name, target, facts, machine)[-1]
    own = target.name == "local" and python_tuple(newest) >= sys.version_info[:2]
    board = here if own else facts(machine, [newest])
    spec = engine.runtime(target, board)
    assert isinstance(spec, RuntimeSpec)
    first = build(engine, tiny, precision, target, emit=ignore)
    pack = resolve(spec, board, emit=ignore)

    def no_process(*arguments, **_options):
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    assert build(engine, tiny, precision, target, emit=ignore) == first
    assert resolve(spec, board, emit=ignore) == pack


def test_host_onnxruntime_is_the_version_whose_operators_are_listed():
    lock = (load_engine("onnxruntime").build_script.with_name("host.txt")).read_text()
    locked = re.search(r"onnxruntime==(\S+)", lock)[1]
    if importlib.metadata.version("onnxruntime") != locked:
        pytest.skip("another onnxruntime is installed here than the lock names")
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = {
        kernel.op_name
        for kernel in state.get_all_opkernel_def()
        if kernel.domain == "" and kernel.provider == "CPUExecutionProvider"
    }
    assert kernels <= operators_of("onnxruntime")
