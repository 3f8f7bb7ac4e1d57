"""Model files that are not what they should be, and lawful ones that are merely odd."""

import hashlib

import odd_onnx
import pytest

LOCAL = ("--target", "local", "--quick", "--runs", "1", "--seconds", "0")
FLOATS = ("--precision", "fp32,fp16")
REAL = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]


@pytest.fixture
def own_recipe(tmp_path, monkeypatch):
    """Write a recipe of one's own for a source; return its name."""

    def make(source):
        folder = tmp_path / "catalog" / "recipes"
        folder.mkdir(parents=True)
        lines = [f"{key} = {value!r}" for key, value in source.items()]
        (folder / "mine.toml").write_text(
            "\n".join(
                [
                    *("title = 'Mine'", "task = 'tensor'", "licence = 'none'"),
                    *("[source]", *lines),
                    *("[preprocess]", "name = 'tensor'", "[postprocess]", "name = 'tensor'"),
                ]
            )
        )
        monkeypatch.setenv("EDGEKIT_CATALOG_PATH", str(tmp_path / "catalog"))
        return "mine"

    return make


def test_file_of_another_content_than_the_recipe_promises_is_refused(
    refused, own_recipe, tmp_path, own_state
):
    file = odd_onnx.unary(tmp_path / "mine.onnx")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    name = own_recipe(
        {"kind": "file", "path": str(file), "sha256": "0" * 64, "size_bytes": file.stat().st_size}
    )
    said = refused(2, "deploy", name, *LOCAL)
    assert found in said
    assert "0" * 64 in said
    assert not list((own_state / "device" / "store").iterdir())


def test_mirror_file_of_another_content_is_named_and_not_used(
    refused, own_recipe, tmp_path, monkeypatch
):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    file = odd_onnx.unary(mirror / "mine.onnx")
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", str(mirror))
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    name = own_recipe(
        {
            "kind": "url",
            "url": "https://127.0.0.1:9/mine.onnx",
            "sha256": "0" * 64,
            "size_bytes": 4,
        }
    )
    said = refused(2, "deploy", name, *LOCAL)
    assert f"{file} is another file" in said
    assert hashlib.sha256(file.read_bytes()).hexdigest() in said
    assert f"put mine.onnx (4 bytes, sha256 {'0' * 64}" in said


def test_recipe_with_faults_names_all_of_them_with_their_lines(refused, own_recipe, tmp_path):
    name = own_recipe({"kind": "file", "path": "x.onnx", "sha256": "abc", "size_byte": 4})
    found = tmp_path / "catalog" / "recipes" / "mine.toml"
    said = refused(2, "recipes", name)
    assert str(found) in said
    assert "size_bytes" in said


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "0 bytes"),
        (b"<html>404 not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "git lfs pull"),
        (b"PK\x03\x04 a PyTorch archive", "export it to ONNX"),
    ],
)
def test_file_that_is_no_onnx_says_what_it_seems_to_be(refused, tmp_path, content, word):
    (tmp_path / "net.onnx").write_bytes(content)
    assert word in refused(2, "deploy", tmp_path / "net.onnx", *LOCAL)


def test_weights_of_pytorch_are_taken_for_a_file(refused, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04 a PyTorch archive")
    assert "export it to ONNX" in refused(2, "deploy", "best.pt", *LOCAL)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_truncated_file_is_refused(refused, tmp_path, share):
    file = odd_onnx.classifier(tmp_path / "net.onnx")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    said = refused(2, "deploy", file, *LOCAL)
    assert "net.onnx" in said


def test_operator_that_onnx_does_not_have_is_named(refused, tmp_path):
    file = odd_onnx.unary(tmp_path / "net.onnx", "Frobnicate")
    assert "Frobnicate" in refused(2, "deploy", file, *LOCAL)


def test_operator_that_an_engine_lacks_is_named_with_the_engine_that_has_it(edgekit, tmp_path):
    file = odd_onnx.unary(tmp_path / "net.onnx", "Det", output=(1, 3))
    done = edgekit("deploy", file, *LOCAL, "--engine", "ncnn")
    assert done.code == 4
    row = done.rows()["ncnn", "fp32"]
    assert row["status"] == "unsupported"
    assert "no operator Det" in row["reason"]
    assert "--engine onnxruntime" in row["reason"]
    assert done.result["chosen"] is None
    assert done.result["active"] is None


def test_open_image_size_asks_for_size(refused, tmp_path):
    file = odd_onnx.classifier(tmp_path / "net.onnx", size="n")
    assert "--size N" in refused(2, "deploy", file, *LOCAL)


@pytest.mark.parametrize("shape", [(1, 0, 8, 8), ("n", "c", 8, 8), ("n", "t")])
def test_open_dimension_that_size_cannot_settle_does_not_ask_for_it(refused, tmp_path, shape):
    file = odd_onnx.unary(tmp_path / "net.onnx", shape=shape)
    assert "static shapes" in refused(2, "deploy", file, *LOCAL)


def test_model_that_answers_nan_in_float32_is_refused(refused, tmp_path, own_state):
    file = odd_onnx.not_a_number(tmp_path / "net.onnx")
    said = refused(2, "deploy", file, *LOCAL)
    assert "not finite even in float32" in said
    assert not list((own_state / "device" / "store").iterdir())


def test_images_for_a_model_that_takes_none_are_refused(refused, tmp_path):
    file = odd_onnx.unary(tmp_path / "net.onnx")
    assert "leave out --images" in refused(2, "deploy", file, *LOCAL, "--images", tmp_path)


class TestOddModels:
    """What is lawful deploys, whatever it is called."""

    pytestmark = REAL

    def test_inputs_of_any_name_are_fed(self, edgekit, tmp_path):
        names = ("x:0", "../x", "file", "allow_pickle", "/etc/passwd", "a b\u00fc")
        file = odd_onnx.total(tmp_path / "net.onnx", *names)
        done = edgekit("deploy", file, *LOCAL, "--precision", "fp32")
        assert done.code == 0
        assert {row["status"] for row in done.running_rows().values()} == {"ok"}

    def test_layer_that_works_in_place_on_the_input_runs_on_ncnn(self, edgekit, tmp_path):
        file = odd_onnx.unary(tmp_path / "net.onnx")
        done = edgekit("deploy", file, *LOCAL, *FLOATS, "--engine", "ncnn")
        assert done.code == 0
        for row in done.rows().values():
            assert row["status"] == "ok", row["reason"]
            assert row["error"]["max_abs"] < 0.01

    def test_bare_classifier_deploys_as_tensors(self, edgekit, tmp_path):
        file = odd_onnx.classifier(tmp_path / "My Net (1).onnx")
        done = edgekit("deploy", file, *LOCAL, *FLOATS, "--engine", "onnxruntime,ncnn")
        assert done.code == 0
        assert done.result["recipe"] == "my-net-1"
        assert {row["status"] for row in done.rows().values()} == {"ok"}

    def test_size_given_settles_an_open_image(self, edgekit, tmp_path):
        file = odd_onnx.classifier(tmp_path / "net.onnx", size="n")
        done = edgekit(
            "deploy", file, *LOCAL, *FLOATS, "--size", "48x64", "--engine", "onnxruntime"
        )
        assert done.code == 0
