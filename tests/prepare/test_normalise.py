"""Any ONNX to normal form."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tiny_models

from edgekit.core.errors import CatalogError, ModelError
from edgekit.core.events import Note, StepFinished, ignore
from edgekit.core.model import StepSpec
from edgekit.prepare.frames import load_frames
from edgekit.prepare.normalise import prepare_model
from edgekit.prepare.reference import reference_outputs
from edgekit.prepare.session import Reference, seeded_inputs


def prepare(model, recipe, tmp_path, *, size=None, emit=ignore):
    return prepare_model(
        recipe, tiny_models.saved(model, tmp_path / "m.onnx"), size=size, emit=emit
    )


def tensor_types(path):
    model = onnx.load(path)
    values = [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)]
    values += [v.type.tensor_type.elem_type for v in model.graph.value_info]
    values += [weight.data_type for weight in model.graph.initializer]
    values += [
        attribute.t.data_type if attribute.type == onnx.AttributeProto.TENSOR else attribute.i
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name in {"value", "to"}
    ]
    return set(values)


def test_half_detector_becomes_float32_with_its_head_cut(tmp_path, events):
    source = tiny_models.yolov5(dtype=np.float16)
    model = prepare(source, tiny_models.recipe(), tmp_path, emit=events)
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    assert not tensor_types(model.onnx.path) & half
    assert not tensor_types(model.reference.path) & half
    assert model.head_cut
    assert [str(spec) for spec in model.inputs] == ["images float32[1, 3, 64, 64]"]
    assert [str(spec) for spec in model.outputs] == [
        "head8 float32[1, 21, 8, 8]",
        "head16 float32[1, 21, 4, 4]",
        "head32 float32[1, 21, 2, 2]",
    ]
    assert model.classes == ("thing 0", "thing 1")
    assert model.operators == ("Conv", "Relu")
    assert not events.of(Note)


def test_float32_graph_answers_as_the_half_one_did(tmp_path):
    source = tiny_models.yolov5(dtype=np.float16)
    model = prepare(source, tiny_models.recipe(), tmp_path)
    image = seeded_inputs(model.inputs)["images"].astype(np.float16)
    want = Reference(source, "half").run({"images": image})["output0"].astype(np.float32)
    whole = Reference(model.reference.path, "float")
    got = whole.run({"images": image.astype(np.float32)})["output0"]
    # float16 carries 11 bits: about 1e-3 of the largest box edge, which here is below 1500.
    np.testing.assert_allclose(got[..., :4], want[..., :4], atol=1.5)
    np.testing.assert_allclose(got[..., 4:], want[..., 4:], atol=5e-3)


def test_anchors_and_strides_come_from_the_graph(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny_models.ANCHORS, 16, [(7, 5), (50, 40), (90, 11)])
    model = prepare(tiny_models.yolov5(), tiny_models.recipe(), tmp_path)
    parameters = json.loads(model.pipeline.postprocess.parameters_json)
    assert parameters["strides"] == [8, 16, 32]
    assert parameters["anchors"][1] == [7.0, 5.0, 50.0, 40.0, 90.0, 11.0]
    assert model.pipeline.postprocess.name == "yolov5-heads"
    assert model.reference_pipeline.postprocess.name == "yolov5"


def test_detector_at_another_size_equals_a_detector_made_for_that_size(tmp_path):
    resized = prepare(tiny_models.yolov5(64), tiny_models.recipe(), tmp_path, size=(96, 96))
    native = tiny_models.yolov5(96)
    image = seeded_inputs(resized.inputs)
    assert resized.inputs[0].shape == (1, 3, 96, 96)
    want = Reference(native, "native").run(image)["output0"]
    got = Reference(resized.reference.path, "resized").run(image)["output0"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert json.loads(resized.pipeline.preprocess.parameters_json)["size"] == [96, 96]


def test_detector_takes_a_size_that_is_no_square(tmp_path):
    model = prepare(tiny_models.yolov5(), tiny_models.recipe(), tmp_path, size=(32, 96))
    assert [spec.shape[2:] for spec in model.outputs] == [(4, 12), (2, 6), (1, 3)]


def test_size_between_the_strides_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ModelError, match="no multiple of the model's stride 32") as caught:
        prepare(tiny_models.yolov5(), tiny_models.recipe(), tmp_path, size=(100, 100))
    assert caught.value.hint == "take --size 96"


def test_unknown_head_is_left_in_the_graph_with_a_note(tmp_path, events):
    source = tiny_models.yolov5(wrong_grid=True)
    model = prepare(source, tiny_models.recipe(), tmp_path, emit=events)
    assert not model.head_cut
    assert model.onnx == model.reference
    assert model.pipeline.postprocess.name == "yolov5"
    assert "another grid" in events.of(Note)[0].text


def test_older_export_with_further_outputs_and_an_open_batch_is_cut(tmp_path):
    source = tiny_models.yolov5()
    source.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    source.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    raw = next(node.output[0] for node in source.graph.node if node.op_type == "Transpose")
    source.graph.output.append(
        onnx.helper.make_tensor_value_info(raw, onnx.TensorProto.FLOAT, ["batch", 3, 8, 8, 7])
    )
    model = prepare(source, tiny_models.recipe(), tmp_path)
    assert [spec.name for spec in model.outputs] == ["head8", "head16", "head32"]
    assert json.loads(model.reference_pipeline.postprocess.parameters_json)["output"] == "output0"
    frames = load_frames(tiny_models.recipe(), model, images=None, emit=ignore)
    assert reference_outputs(model, frames[:1]).frames


def test_old_opset_is_lifted(tmp_path):
    source = tiny_models.classifier(shape=(1, 3, 32, 32), opset=11)
    model = prepare(source, tiny_models.recipe("classify"), tmp_path)
    lifted = onnx.load(model.onnx.path)
    assert lifted.opset_import[0].version == 13
    image = seeded_inputs(model.inputs)
    want = Reference(source, "old").run(image)["scores"]
    np.testing.assert_allclose(
        Reference(model.onnx.path, "new").run(image)["scores"], want, rtol=1e-5
    )


def test_dynamic_shape_without_a_size_names_input_and_option(tmp_path):
    with pytest.raises(ModelError) as caught:
        prepare(tiny_models.classifier(), tiny_models.recipe("classify"), tmp_path)
    assert "image [batch, 3, height, width]" in caught.value.message
    assert "--size" in str(caught.value.hint)


def test_dynamic_shape_with_a_size_becomes_static_and_folded(tmp_path):
    source = tiny_models.classifier()
    model = prepare(source, tiny_models.recipe("classify"), tmp_path, size=(48, 32))
    assert model.inputs[0].shape == (1, 3, 48, 32)
    assert model.outputs[0].shape == (1, 4)
    assert not {"Shape", "Gather", "Constant"} & set(model.operators)
    image = seeded_inputs(model.inputs)
    want = Reference(source, "dynamic").run(image)["scores"]
    np.testing.assert_allclose(
        Reference(model.onnx.path, "static").run(image)["scores"], want, rtol=1e-5
    )


def test_recipe_size_serves_where_none_is_given(tmp_path):
    recipe = tiny_models.recipe("classify", size=(32, 32))
    assert prepare(tiny_models.classifier(), recipe, tmp_path).inputs[0].shape == (1, 3, 32, 32)


def test_open_batch_alone_becomes_one(tmp_path):
    source = tiny_models.classifier(shape=("n", 3, 32, 32))
    model = prepare(source, tiny_models.recipe("tensor"), tmp_path)
    assert model.inputs[0].shape == (1, 3, 32, 32)


def test_baked_reshape_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError) as caught:
        prepare(tiny_models.yolov5(), tiny_models.recipe("tensor"), tmp_path, size=(96, 96))
    assert "Reshape" in caught.value.message
    assert "onnxruntime_src" not in caught.value.message
    assert "--size" in str(caught.value.hint)


def test_baked_size_is_refused(tmp_path):
    source = tiny_models.baked_classifier(32)
    with pytest.raises(ModelError, match="input size"):
        prepare(source, tiny_models.recipe("classify"), tmp_path, size=(64, 64))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.95])
def test_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "m.onnx"
    file = tiny_models.saved(tiny_models.yolov5(), path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(ModelError, match=r"m\.onnx") as caught:
        prepare_model(tiny_models.recipe(), file, size=None, emit=ignore)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (np.random.default_rng(0).bytes(5000), "5,000 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"PK\x03\x04" + bytes(60), "PyTorch"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x1c\0\0\0TFL3" + bytes(60), "TFLite"),
    ],
)
def test_other_files_are_refused_and_recognised(tmp_path, content, hint):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    file = tiny_models.FileRef(path, "0" * 64, len(content))
    with pytest.raises(ModelError, match=r"m\.onnx") as caught:
        prepare_model(tiny_models.recipe(), file, size=None, emit=ignore)
    assert hint in str(caught.value.hint)


def test_failure_leaves_nothing_in_the_cache(tmp_path, own_cache):
    with pytest.raises(ModelError):
        prepare(tiny_models.classifier(), tiny_models.recipe("classify"), tmp_path)
    assert not list((own_cache / "models").glob("[0-9a-f]*"))
    assert not list((own_cache / "models" / ".building").iterdir())


def test_wrong_step_parameter_is_told_before_any_board_sees_it(tmp_path):
    recipe = tiny_models.recipe(postprocess=StepSpec("yolov5", '{"confidence": 0.3}'))
    with pytest.raises(CatalogError, match="confidence"):
        prepare(tiny_models.yolov5(), recipe, tmp_path)


def test_unknown_step_is_refused(tmp_path):
    recipe = tiny_models.recipe(preprocess=StepSpec("letterbux"))
    with pytest.raises(CatalogError, match="no step is named 'letterbux'"):
        prepare(tiny_models.yolov5(), recipe, tmp_path)


def test_second_call_is_cached_and_equal(tmp_path, events):
    source, recipe = tiny_models.yolov5(), tiny_models.recipe()
    first = prepare(source, recipe, tmp_path)
    second = prepare(source, recipe, tmp_path, emit=events)
    assert first == second
    assert events.of(StepFinished)[0].detail == "cached"


def test_damaged_cache_is_made_anew(tmp_path, events):
    source, recipe = tiny_models.yolov5(), tiny_models.recipe()
    first = prepare(source, recipe, tmp_path)
    first.onnx.path.write_bytes(b"short")
    second = prepare(source, recipe, tmp_path, emit=events)
    assert events.of(StepFinished)[0].detail != "cached"
    assert second.onnx.path.stat().st_size == first.onnx.size_bytes


def test_cached_call_imports_nothing_heavy(tmp_path):
    file = tiny_models.saved(tiny_models.yolov5(), tmp_path / "m.onnx")
    prepare_model(tiny_models.recipe(), file, size=None, emit=ignore)
    script = f"""
import sys
from pathlib import Path
from edgekit.core.events import ignore
from edgekit.core.model import FileRef, StepSpec
from edgekit.core.recipe import Recipe, Source
from edgekit.prepare.frames import load_frames
from edgekit.prepare.normalise import prepare_model
recipe = Recipe("tiny", "tiny", "detect", Source("file", "tiny.onnx"),
                StepSpec("letterbox"), StepSpec("yolov5"))
file = FileRef(Path({str(file.path)!r}), {file.sha256!r}, {file.size_bytes})
assert prepare_model(recipe, file, size=None, emit=ignore).head_cut
print(*sorted({{"onnx", "onnxruntime", "numpy", "cv2"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_every_node_has_a_name_of_its_own(tmp_path):
    source = tiny_models.yolov5()
    source.graph.node[0].name = source.graph.node[1].name = "twice"
    source.graph.node[2].name = "alone"
    model = prepare(source, tiny_models.recipe(), tmp_path)
    for file in (model.onnx, model.reference):
        names = [node.name for node in onnx.load(file.path).graph.node]
        assert all(names)
        assert len(set(names)) == len(names)
        assert {"twice", "alone"} <= set(names)


@pytest.mark.parametrize("size", [None, (96, 128)])
def test_head_may_be_left_in_the_graph(tmp_path, size):
    source = tiny_models.saved(tiny_models.yolov5(), tmp_path / "m.onnx")
    recipe = tiny_models.recipe()
    whole = prepare_model(recipe, source, size=size, cut_head=False, emit=ignore)
    cut = prepare_model(recipe, source, size=size, emit=ignore)
    assert not whole.head_cut
    assert cut.head_cut
    assert whole.onnx.sha256 == whole.reference.sha256 == cut.reference.sha256
    assert whole.pipeline == whole.reference_pipeline == cut.reference_pipeline
    assert len(whole.outputs) == 1
