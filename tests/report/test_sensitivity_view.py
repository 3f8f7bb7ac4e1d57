from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.quantisation import LayerLoss, Sensitivity
from edgekit.report.sensitivity import ruin_in_words, sensitivity_lines, sensitivity_table

JOIN = LayerLoss("join", "Concat", False, 1.25, "out classes", 0.9)
CONV = LayerLoss("conv", "Conv", True, 30.0, "out boxes", 0.031)


def model(*, head_cut=False):
    file = FileRef(None, "0" * 64, 0)
    steps = Pipeline(StepSpec("tensor"), StepSpec("tensor"))
    inputs = (TensorSpec("images", "float32", (1, 3, 8, 8)),)
    return Model("tiny", file, file, "0" * 64, inputs, (), (), head_cut, steps, steps)


def found(*layers):
    return Sensitivity(layers, "kl", 4)


def test_row_tells_layer_noise_and_what_suffers():
    table = sensitivity_table(found(JOIN, CONV), 1)
    assert table.rows == (("join", "Concat", "1.2 dB", "90.0%", "out classes"),)


def test_join_that_ruins_an_output_wants_the_head_cut():
    lines = sensitivity_lines(model(), found(JOIN, CONV))
    assert "hardly anything of out classes at join (Concat, 1.2 dB)" in lines[1]
    assert "cut the head" in lines[2]


def test_layers_with_weights_are_to_be_kept_in_float():
    assert sensitivity_lines(model(), found(CONV))[-1].endswith("can mix: conv")
    dead = LayerLoss("dead", "Conv", True, 2.0, "out boxes", 0.5)
    lines = sensitivity_lines(model(), found(dead, CONV))
    assert "dead (Conv, 2.0 dB)" in lines[1]
    assert lines[2].endswith("can mix: dead, conv")


def test_many_ruinous_layers_are_counted():
    many = [LayerLoss(f"l{n}", "Concat", False, 0.0, "y", 0.1) for n in range(7)]
    assert ruin_in_words(found(*many)).endswith("and 3 more")
    assert ruin_in_words(found(CONV)) == ""
