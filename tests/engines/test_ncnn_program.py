"""``ncnn-run``: ncnn's files on a machine without Python, with a library made from its source."""

import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from board_shell import carry, skip_without_boards

from edgekit.board import user_mode
from edgekit.catalog.targets import load_target
from edgekit.core.events import ignore
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.toolbox.build import build
from edgekit.toolbox.programs import program

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build_libncnn.py"
NCNN = load_engine("ncnn")
# With unaligned rows, and channels that ncnn sets apart.
SHAPE = (1, 3, 9, 7)
MODEL = "model.ncnn.param"


@pytest.fixture(scope="session")
def make_library(tmp_path_factory):
    """Build a libncnn.so with few layers for an architecture, once; give its folder."""
    # A folder of folders by architecture, made before by the same script: that takes minutes.
    before = os.environ.get("EDGEKIT_LIBNCNN")
    made = {}

    def make(architecture):
        if before and (Path(before) / architecture / "libncnn.so").is_file():
            return Path(before) / architecture
        if shutil.which("cmake") is None:
            pytest.skip("ncnn's library is built with CMake, which is not here")
        if architecture not in made:
            folder = tmp_path_factory.mktemp("libncnn")
            command = [sys.executable, str(SCRIPT), architecture, str(folder)]
            done = subprocess.run(
                [*command, "Convolution", "Pooling"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            made[architecture] = folder
        return made[architecture]

    return make


def lay_out(model, precision, target, library, folder, int8=None):
    """Leave the built model, the program, the library and an input; return the input."""
    runs = program("ncnn", target.architecture, emit=ignore)
    assert runs is not None
    folder.mkdir(exist_ok=True)
    for file in (*build(NCNN, model, precision, target, int8=int8, emit=ignore), runs):
        shutil.copy(file.source, folder / file.path)
    shutil.copy(library / "libncnn.so", folder)
    x = np.random.default_rng(5).random(SHAPE, np.float32)
    np.save(folder / "x.npy", x)
    return x


def check(model, x, read, tolerance=1e-5):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model.onnx.path), providers=["CPUExecutionProvider"])
    expected = session.run([spec.name for spec in model.outputs], {"x": x})
    for number, wanted in enumerate(expected):
        found = np.load(read(f"out-{number}.npy"))
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def run(folder, *arguments):
    """Run the program there; return its status and its lines."""
    done = subprocess.run(
        ["./ncnn-run", *arguments],
        cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def laid_out(tiny, local_target, make_library, tmp_path):
    folder = tmp_path / "board"
    return folder, lay_out(tiny, "fp32", local_target, make_library(platform.machine()), folder)


@pytest.mark.timeout(600)
def test_run_answers_as_the_reference_and_times_each_run(laid_out, tiny):
    folder, x = laid_out
    status, lines = run(folder, "-l", ".", "-o", ".", "-n", "7", "-t", "2", MODEL, "x.npy")
    assert status == 0, lines
    loaded, *outputs, timed = lines
    assert loaded["load_ns"] > 0
    blobs = json.loads((folder / "blobs.json").read_text())
    assert loaded["ncnn"] == blobs["ncnn"]
    assert "warning" not in loaded
    assert [line["path"] for line in outputs] == ["./out-0.npy", "./out-1.npy"]
    assert len(timed["model_ns"]) == 7
    assert min(timed["model_ns"]) > 0
    check(tiny, x, lambda name: folder / name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_run_in_less_precision_is_less_exact(
    tiny, local_target, make_library, calibrate, tmp_path, precision
):
    folder = tmp_path / "board"
    int8 = Int8(Quantisation("minmax"), calibrate(tiny)) if precision == "int8" else None
    library = make_library(platform.machine())
    x = lay_out(tiny, precision, local_target, library, folder, int8)
    half = "fp16" if precision == "fp16" else "fp32"
    status, lines = run(folder, "-l", ".", "-p", half, "-o", ".", "-n", "1", MODEL, "x.npy")
    assert status == 0, lines
    check(tiny, x, lambda name: folder / name, tolerance=5e-2)
    with pytest.raises(AssertionError):  # it is not float32 under another name
        check(tiny, x, lambda name: folder / name)


@pytest.mark.timeout(600)
def test_library_older_than_the_model_is_warned_of(laid_out):
    folder, _ = laid_out
    blobs = json.loads((folder / "blobs.json").read_text())
    (folder / "blobs.json").write_text(json.dumps({**blobs, "ncnn": "1.0.20991231"}))
    status, lines = run(folder, "-l", ".", "-n", "1", MODEL, "x.npy")
    assert status == 0
    assert "older" in lines[0]["warning"]


@pytest.mark.timeout(600)
def test_layer_that_the_library_lacks_is_named(make_model, local_target, make_library, tmp_path):
    folder = tmp_path / "board"
    model = make_model("Tanh")
    lay_out(model, "fp32", local_target, make_library(platform.machine()), folder)
    status, lines = run(folder, "-l", ".", MODEL, "x.npy")
    assert status == 1
    assert "no layer TanH" in lines[-1]["error"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "usage"),
        (("-l", "/nowhere/libncnn.so", MODEL, "x.npy"), "-DNCNN_SHARED_LIB=ON"),
        (("-l", "libm.so.6", MODEL, "x.npy"), "has no ncnn_version"),
        (("-l", ".", "nowhere.param", "x.npy"), "nowhere.param: No such file"),
        (("-l", ".", "blobs.json", "x.npy"), "is no .param file"),
        (("-l", ".", "empty/model.param", "x.npy"), "empty/blobs.json: No such file"),
        (("-l", ".", "odd/model.param", "x.npy"), "is not as edgekit writes it"),
        (("-l", ".", "broken/model.param", "x.npy"), "ncnn cannot load it"),
        (("-l", ".", "alone/model.ncnn.param", "x.npy"), "alone/model.ncnn.bin: No such file"),
        (("-l", ".", MODEL, "nowhere.npy"), "No such file"),
        (("-l", ".", MODEL, "blobs.json"), "is no .npy file"),
        (("-l", ".", MODEL, "short.npy"), "ends too early"),
        (("-l", ".", MODEL, "odd.npy"), "the model's input is float32[3, 9, 7]"),
        (("-l", ".", MODEL, "double.npy"), "the model's input is float32[3, 9, 7]"),
        (("-l", ".", MODEL, "x.npy", "x.npy"), "fewer inputs"),
        (("-l", ".", "-p", "int8", MODEL, "x.npy"), "usage"),
        (("-l", ".", "-t", "0", MODEL, "x.npy"), "usage"),
    ],
)
def test_run_of_what_cannot_be_is_one_error(laid_out, arguments, words):
    folder, x = laid_out
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:-4])
    np.save(folder / "odd.npy", np.ones((1, 3, 9, 8), np.float32))
    np.save(folder / "double.npy", x.astype(np.float64))
    for name in ("empty", "odd", "broken", "alone"):
        (folder / name).mkdir()
        (folder / name / "model.param").write_text("7767517\n0 0\n")
    (folder / "odd" / "blobs.json").write_text('{"inputs": [{"blob": "in0"}]}')
    for name in ("broken", "alone"):
        shutil.copy(folder / "blobs.json", folder / name)
    shutil.copy(folder / MODEL, folder / "alone")
    status, lines = run(folder, *arguments)
    assert status == 1
    assert words in lines[-1]["error"]


@pytest.fixture
def board():
    skip_without_boards()
    board = user_mode.up(load_target("rk3566"), name="ncnn-program")
    yield board
    user_mode.down(board.name, wipe=True)


@pytest.mark.board
@pytest.mark.timeout(900)
def test_run_on_an_emulated_a55_needs_no_python(board, tiny, make_library, tmp_path):
    folder = tmp_path / "board"
    x = lay_out(tiny, "fp32", load_target("rk3566"), make_library("aarch64"), folder)
    there = carry(board, folder, "ncnn")
    said = there(f"cd ncnn && ./ncnn-run -l . -o . -n 2 {MODEL} x.npy")
    assert len(json.loads(said.splitlines()[-1])["model_ns"]) == 2
    check(tiny, x, lambda name: io.BytesIO(there(f"cat ncnn/{name}")))
