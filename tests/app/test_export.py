"""``export`` writes an engine's files and says how they are used; no device takes part."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.app.export import ExportOptions, _pins, _program, export
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.static import symbol_table
from edgekit.cli.main import run
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.events import ignore
from edgekit.engines import load_engine


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"precision": "fp32", "engine": "rknn"}, EngineError, "does not offer"),
        ({"method": "minmax"}, UsageError, "no calibration"),
        ({"method": "kl", "precision": "int8"}, UsageError, "does not calibrate by kl"),
        ({"engine": "onnxrun"}, UsageError, "no engine is named"),
        ({"target": "rpi9"}, UsageError, "rpi9"),
        ({"static": True}, UsageError, "onnxruntime cannot be linked into one program"),
    ],
)
def test_export_of_what_cannot_be_meant_is_refused(tmp_path, changes, error, words):
    asked = {"model": "shapes", "engine": "onnxruntime", "target": "rpi5", **changes}
    with pytest.raises(error) as caught:
        export(ExportOptions(output=tmp_path / "out", **asked))
    assert words in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_static_export_with_a_tree_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_TVM_SOURCE", str(tmp_path / "nowhere"))
    options = ExportOptions("shapes", "tvm", "rpi3-32", tmp_path / "out", static=True)
    with pytest.raises(EngineError, match="nowhere, which is no folder") as caught:
        export(options)
    assert "git clone" in caught.value.hint


def test_export_into_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="no empty folder"):
        export(ExportOptions("shapes", "onnxruntime", "rpi5", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_export_into_what_cannot_be_replaced_is_refused_before_anything_is_built(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    events = []
    for output in (Path(), tmp_path / "file" / "out", Path("../file/a/out")):
        with pytest.raises(UsageError) as caught:
            export(ExportOptions("shapes", "onnxruntime", "rpi5", output), emit=events.append)
        assert "--output" in caught.value.hint
    assert not events
    assert not list(Path.cwd().iterdir())


def test_export_without_a_target_is_a_usage_error(tmp_path, capsys):
    arguments = ["export", "shapes", "-e", "onnxruntime", "-o", str(tmp_path / "out")]
    assert run(arguments) == 2
    assert "--target" in capsys.readouterr().err


def test_symbols_are_those_that_tvm_looks_up(tmp_path):
    file = tmp_path / "model-0.o"
    file.write_bytes(b"\0__tvm_ffi_add1\0__TVMBackendAlloc\0my__tvm_ffi_no\0__tvm_ffi_open ")
    table = symbol_table((file,))
    assert '{"__tvm_ffi_add1", __tvm_ffi_add1},' in table
    assert '{"__TVMBackendAlloc", __TVMBackendAlloc},' in table
    assert table.count("{") == 4  # both, the list and its end


def test_objects_without_a_function_are_an_error(tmp_path):
    (tmp_path / "model-0.o").write_bytes(b"\0main\0")
    with pytest.raises(EngineError, match="no function"):
        symbol_table((tmp_path / "model-0.o",))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.timeout(900)
def test_static_export_is_one_program_that_runs_alone(tmp_path, capsys):
    import onnxruntime

    emulator = shutil.which("qemu-arm-static")
    if emulator is None:
        pytest.skip("nothing here runs 32-bit ARM: qemu-user-static")
    output = tmp_path / "out"
    arguments = ["export", "shapes", "-e", "tvm", "-t", "rpi3-32", "--static"]
    assert run([*arguments, "-o", str(output), "--json"]) == 0, capsys.readouterr().out
    manifest = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {file["path"] for file in manifest["files"]} == {"run-model", "model.json"}
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert "./run-model" in readme
    assert "\nIt needs no library.\n" in readme
    assert "Args:" not in readme

    [spec] = manifest["inputs"]
    x = np.random.default_rng(3).random(spec["shape"], np.float32)
    np.save(output / "x.npy", x)
    # An empty root: there is no library that it could load.
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [emulator, "-L", str(tmp_path / "empty"), "./run-model", "-t2", "-n1", "-o.", "x.npy"],
        cwd=output, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["model_ns"]) == 1
    model = prepared_model(resolve_recipe("shapes"), None, emit=ignore)
    session = onnxruntime.InferenceSession(str(model.onnx.path), providers=["CPUExecutionProvider"])
    expected_outputs = session.run([each.name for each in model.outputs], {spec["name"]: x})
    for number, expected in enumerate(expected_outputs):
        found = np.load(output / f"out-{number}.npy")
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_export_writes_files_manifest_and_readme(tmp_path, capsys, precision):
    output = tmp_path / "new" / "out"
    arguments = ["export", "shapes", "-e", "onnxruntime", "-t", "rpi5", "-p", precision]
    assert run([*arguments, "-o", str(output), "--json"]) == 0

    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "folder": str(output),
        **manifest,
    }
    [file] = manifest["files"]
    assert hashlib.sha256((output / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert (manifest["calibration"] is not None) == (precision == "int8")
    assert manifest["made_with"]["onnxruntime"]
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert "Args:" not in readme
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        assert f"`{spec['name']}` float32[{', '.join(map(str, spec['shape']))}]" in readme
    assert manifest["preprocess"]["name"] in readme
    assert "quantised tensors around every layer" in readme
    assert sorted(path.name for path in output.parent.iterdir()) == ["out"]


def test_what_tvm_run_needs_is_named_with_its_versions():
    made_with = _pins(load_engine("tvm"))
    manifest = {"precision": "fp32", "files": [{"path": "tvm-run"}], "made_with": made_with}
    said = "\n".join(_program(manifest))
    assert "./tvm-run -l LIBRARIES" in said
    assert f"apache-tvm {made_with['apache-tvm']};" in said


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_export_of_ncnn_brings_the_program_for_boards_without_python(tmp_path):
    output = tmp_path / "link to an empty folder"
    (tmp_path / "out").mkdir()
    output.symlink_to("out")
    made = export(ExportOptions("shapes", "ncnn", "rk3566", output, precision="fp16"))
    assert output.is_symlink()
    assert "ncnn-run" in {file.path for file in made.files}
    assert "ncnn-run" in {file["path"] for file in made.manifest["files"]}
    assert os.access(output / "ncnn-run", os.X_OK)
    assert not os.access(output / "model.ncnn.param", os.X_OK)
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert "./ncnn-run -l LIBRARY -p fp16" in readme
    assert "\nLIBRARY is the board's libncnn.so" in readme
