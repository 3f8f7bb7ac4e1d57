"""``edgekit quantize --explain`` on the detector that edgekit ships."""

import json

import pytest

from edgekit.cli.main import run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, request):
    if request.node.get_closest_marker("toolbox"):
        return  # making one anew takes minutes and a network
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("EDGEKIT_CACHE_DIR", "EDGEKIT_MODEL_PATH", "EDGEKIT_DATA_PATH"):
        monkeypatch.delenv(name, raising=False)


def explain(*more):
    return run(["quantize", "shapes", "--explain", "--calibration-count", "8", *more])


def build(*more):
    asked = ["--engine", "onnxruntime", "--calibration-count", "8"]
    return run(["quantize", "shapes", *asked, *more])


@pytest.mark.slow
def test_table_names_the_worst_layers_first(capsys):
    assert explain("--layers", "3") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "operator", "alone", "share", "what", "suffers", "most"]
    decibels = [float(line.split(" dB")[0].split()[-1]) for line in lines[1:4]]
    assert decibels == sorted(decibels)
    assert "percentile on 4 samples" in lines[4]
    assert "to be kept in float first" in out


@pytest.mark.slow
def test_head_left_in_the_graph_is_told_to_be_the_cause(capsys):
    assert explain("--no-head-cut", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["head_cut"] is False
    assert result["calibration"]["count"] == 8
    worst = result["layers"][0]
    assert worst["operator"] == "Concat"
    assert worst["decibels"] < 10
    assert "boxes" not in worst["suffers"]
    assert explain("--no-head-cut") == 0
    out = capsys.readouterr().out
    assert f"hardly anything of {worst['suffers']}" in out
    assert worst["name"] in out
    assert "cut the head" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "percentil"], ["percentil", "percentile"]),
        (["--size", "big"], ["big", "320"]),
        (["--calibration", "."], ["no image in"]),
    ],
)
def test_wrong_input_is_one_clear_error(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert explain(*arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.slow
@pytest.mark.toolbox
def test_engine_is_made_int8_the_way_that_loses_least(capsys):
    assert build("--max-drop", "0.5", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    (made,) = result["engines"]
    drops = [tried["drop"] for tried in made["tried"]]
    assert len(drops) > 1
    assert made["drop"] == min(drops) <= 0.5
    assert made["status"] == "ok"
    assert made["size_bytes"] < 1_331_778 / 2  # of the float32 file


def test_engine_without_int8_has_a_row_and_the_exit_code_says_so(capsys, monkeypatch):
    from edgekit.engines import load_engine

    monkeypatch.setattr(type(load_engine("ncnn")), "precisions", ("fp32",))
    assert run(["quantize", "shapes", "--engine", "ncnn", "--json"]) == 4
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["status"] for row in result["engines"]] == ["unsupported"]
    assert "int8" in result["engines"][0]["reason"]
