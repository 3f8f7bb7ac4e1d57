"""``export`` writes an engine's files and says how they are used; no device takes part."""

import hashlib
import json
import os

import pytest

from edgekit.app.export import ExportOptions, export
from edgekit.cli.main import run
from edgekit.core.errors import EngineError, UsageError


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"precision": "fp32", "engine": "rknn"}, EngineError, "does not offer"),
        ({"method": "minmax"}, UsageError, "no calibration"),
        ({"method": "kl", "precision": "int8"}, UsageError, "does not calibrate by kl"),
        ({"engine": "onnxrun"}, UsageError, "no engine is named"),
        ({"target": "rpi9"}, UsageError, "rpi9"),
    ],
)
def test_export_of_what_cannot_be_meant_is_refused(tmp_path, changes, error, words):
    asked = {"model": "shapes", "engine": "onnxruntime", "target": "rpi5", **changes}
    with pytest.raises(error) as caught:
        export(ExportOptions(output=tmp_path / "out", **asked))
    assert words in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_export_into_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="no empty folder"):
        export(ExportOptions("shapes", "onnxruntime", "rpi5", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_export_without_a_target_is_a_usage_error(tmp_path, capsys):
    arguments = ["export", "shapes", "-e", "onnxruntime", "-o", str(tmp_path / "out")]
    assert run(arguments) == 2
    assert "--target" in capsys.readouterr().err


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
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        assert f"`{spec['name']}` float32[{', '.join(map(str, spec['shape']))}]" in readme
    assert manifest["preprocess"]["name"] in readme
    assert "quantised tensors around every layer" in readme
    assert sorted(path.name for path in output.parent.iterdir()) == ["out"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_export_of_ncnn_brings_the_program_for_boards_without_python(tmp_path):
    output = tmp_path / "out"
    made = export(ExportOptions("shapes", "ncnn", "rk3566", output, precision="fp16"))
    assert "ncnn-run" in {file.path for file in made.files}
    assert "ncnn-run" in {file["path"] for file in made.manifest["files"]}
    assert os.access(output / "ncnn-run", os.X_OK)
    assert not os.access(output / "model.ncnn.param", os.X_OK)
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert "./ncnn-run -l LIBRARY -p fp16" in readme
