"""``tvm-run`` and ``tvm-bench``: compiled code on a machine without Python, here and emulated."""

import io
import json
import platform
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from board_shell import carry, skip_without_boards

from edgekit.app.runtimes import runtime_of
from edgekit.board import user_mode
from edgekit.catalog.targets import load_target
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.build import build

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

ROOT = Path(__file__).resolve().parents[2]
TVM = load_engine("tvm")
SHAPE = (1, 3, 9, 7)


def reference(model, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model.onnx.path), providers=["CPUExecutionProvider"])
    return session.run([spec.name for spec in model.outputs], {"x": x})


def unpack_libraries(target, device, folder):
    """Leave what a board gets of TVM's libraries, fetched or compiled, and nothing else."""
    spec = TVM.runtime(target, device)
    assert isinstance(spec, RuntimeSpec)
    for wheel in runtime_of(spec, device, emit=ignore).wheels:
        if wheel.path.endswith(".zip"):
            with zipfile.ZipFile(wheel.source) as archive:
                archive.extractall(folder)


def lay_out(model, target, device, folder):
    """Leave the built model, the program, the libraries and an input; return the input."""
    for file in build(TVM, model, "fp32", target, emit=ignore):
        path = folder / file.path
        path.write_bytes(file.source.read_bytes())
        path.chmod(0o755)
    unpack_libraries(target, device, folder)
    x = np.random.default_rng(5).random(SHAPE, np.float32)
    np.save(folder / "x.npy", x)
    return x


def check(model, x, read):
    for number, expected in enumerate(reference(model, x)):
        found = np.load(read(f"out-{number}.npy"))
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def run(folder, *arguments):
    """Run a program of the folder there; return its status and its lines."""
    done = subprocess.run(
        [str(folder / arguments[0]), *arguments[1:]],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def here_laid_out(tiny, local_target, here, tmp_path):
    if platform.machine() not in {"x86_64", "aarch64"}:
        pytest.skip("there is no TVM for this machine")
    folder = tmp_path / "board"
    folder.mkdir()
    return folder, lay_out(tiny, local_target, here, folder)


def test_run_answers_as_the_reference_and_times_each_run(here_laid_out, tiny):
    folder, x = here_laid_out
    status, lines = run(folder, "tvm-run", "-o", ".", "-n", "7", "model.so", "x.npy")
    assert status == 0, lines
    loaded, *outputs, timed = lines
    assert loaded["load_ns"] > 0
    assert [line["path"] for line in outputs] == ["./out-0.npy", "./out-1.npy"]
    assert len(timed["model_ns"]) == 7
    assert min(timed["model_ns"]) > 0
    check(tiny, x, lambda name: folder / name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "usage"),
        (("nowhere.so", "x.npy"), "nowhere.so"),
        (("-l", "/nowhere", "model.so", "x.npy"), "/nowhere"),
        (("model.so", "nowhere.npy"), "No such file"),
        (("model.so", "model.json"), "is no .npy file"),
        (("model.so", "short.npy"), "ends too early"),
        (("model.so", "odd.npy"), "inference"),
        (("-n", "-1", "model.so", "x.npy"), "usage"),
        (("-n", "many", "model.so", "x.npy"), "usage"),
        (("-n", "1", "-w", "2x", "model.so", "x.npy"), "usage"),
        (("-n", "99999999999", "model.so", "x.npy"), "usage"),
        (("-n", "1", "-t", "100000", "model.so", "x.npy"), "usage"),
    ],
)
def test_run_of_what_cannot_be_is_one_error(here_laid_out, arguments, words):
    folder, _ = here_laid_out
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:-4])
    np.save(folder / "odd.npy", np.ones((1, 3, 9, 8), np.float32))
    status, lines = run(folder, "tvm-run", *arguments)
    assert status == 1
    assert words in lines[-1]["error"]


def test_run_whose_lines_are_lost_does_not_end_well(here_laid_out):
    folder, _ = here_laid_out
    command = [str(folder / "tvm-run"), "-n", "1", "model.so", "x.npy"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=folder, env={}, stdout=full, check=False, timeout=120)
    assert done.returncode == 1


BENCH = """
import subprocess
from pathlib import Path
toolbox, sources, model, folder, machine = map(str, sys.argv[1:])
sys.path.insert(0, toolbox)
import toolchains, tvm
from tvm.s_tir import meta_schedule as ms
native = importlib.import_module("tvm_build.build_native")

def compile_c(output, arguments):
    found = toolchains.toolchains(machine, "2.27")
    run = lambda command: subprocess.run(command, check=True)
    toolchains.compile_with(found, output, arguments, glibc="2.27", run=run)

target = pipeline.make_target({"kind": "llvm", "mcpu": "native", "num-cores": 1})
module = pipeline.import_model(Path(model), target)
(task, function), *_ = pipeline.tasks_of(module, target)
work = Path(folder, "work")
work.mkdir()
code = pipeline.objects(tvm.compile(function, target=target), work)
compile_c(Path(folder, "kernel.so"), ["-shared", "-fPIC", *map(str, code)])
native.make(native.BENCH, Path(folder), Path(sources), compile_c)
arguments = ms.arg_info.ArgInfo.from_prim_func(function["main"])
tensors = [each.as_json() for each in arguments]
specs = [f"{dtype}:{','.join(str(int(size)) for size in shape)}" for _, dtype, shape in tensors]
print(json.dumps(specs))
"""


@pytest.fixture
def kernel(in_toolbox, tiny, local_target, here, tmp_path):
    """The costliest function of the tiny model as a library, tvm-bench, and its arguments."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    places = ROOT / "edgekit" / "toolbox", ROOT / "cross/runners/tvm"
    tensors = in_toolbox(BENCH, *places, tiny.onnx.path, folder, platform.machine())
    unpack_libraries(local_target, here, folder)
    return folder, tensors


def test_bench_times_one_function(kernel):
    folder, tensors = kernel
    options = ("-r", "4", "-m", "1", "-s", "60")
    status, lines = run(folder, "tvm-bench", *options, "kernel.so", "main", *tensors)
    assert status == 0, lines
    (line,) = lines
    assert len(line["run_s"]) == 4
    assert all(0 < value < 1 for value in line["run_s"])


def test_bench_of_what_cannot_be_is_one_error(kernel):
    folder, tensors = kernel
    for arguments, words in (
        (("kernel.so", "nothing", *tensors), "no such function"),
        (("kernel.so", "main", "float32"), "is no tensor"),
        (("kernel.so", "main", "float32:1,0"), "is no tensor"),
        (("kernel.so", "main", *tensors[:-1]), "main"),
        (("kernel.so", "main"), "usage"),
        (("-s", "never", "kernel.so", "main", *tensors), "usage"),
    ):
        status, lines = run(folder, "tvm-bench", *arguments)
        assert status == 1, arguments
        assert words in lines[-1]["error"], arguments


def test_bench_ends_what_takes_too_long(kernel):
    folder, tensors = kernel
    options = ("-r", "1000", "-m", "1000", "-s", "1")
    status, lines = run(folder, "tvm-bench", *options, "kernel.so", "main", *tensors)
    assert status == -14  # SIGALRM
    assert lines == []


@pytest.fixture(params=[("rk3566", "aarch64"), ("rpi3-32", "armv7l")], ids=lambda kind: kind[0])
def board_and_machine(request):
    skip_without_boards()
    target, machine = request.param
    board = user_mode.up(load_target(target), name=f"tvm-programs-{target}")
    yield board, load_target(target), machine
    user_mode.down(board.name, wipe=True)


@pytest.mark.board
@pytest.mark.timeout(900)
def test_run_on_an_emulated_board_needs_no_python(board_and_machine, tiny, facts, tmp_path):
    board, target, machine = board_and_machine
    folder = tmp_path / "board"
    folder.mkdir()
    x = lay_out(tiny, target, facts(machine, numpy="1.24.2"), folder)
    payload = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".npy"]
    assert sum(file.stat().st_size for file in payload) < 6e6
    there = carry(board, folder, "tvm")
    said = there("cd tvm && ./tvm-run -o . -n 2 model.so x.npy")
    assert len(json.loads(said.splitlines()[-1])["model_ns"]) == 2
    check(tiny, x, lambda name: io.BytesIO(there(f"cat tvm/{name}")))
