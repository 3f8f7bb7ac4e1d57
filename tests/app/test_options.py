import pytest

from edgekit.app.options import bench_plan, parse_engines, parse_precisions, parse_size
from edgekit.core.errors import UnknownNameError, UsageError


def test_engines_keep_order_and_drop_doubles():
    assert parse_engines("ncnn, onnxruntime,ncnn") == ("ncnn", "onnxruntime")
    assert parse_engines("auto") == ()


def test_unknown_engine_names_the_near_one():
    with pytest.raises(UnknownNameError) as caught:
        parse_engines("ncn")
    assert (caught.value.hint or "").startswith("did you mean ncnn")


def test_unknown_precision_is_refused():
    with pytest.raises(UnknownNameError):
        parse_precisions("fp8")


@pytest.mark.parametrize(("text", "size"), [("320", (320, 320)), ("480x640", (480, 640))])
def test_size_is_height_by_width(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "3x", "1x2x3", "big", "1.5"])
def test_size_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        parse_size(text)


def test_who_asks_for_less_than_a_moment_waits_for_no_longer_warm_up():
    assert bench_plan(runs=None, seconds=None) is None
    assert bench_plan(runs=1, seconds=0.05).warmup_seconds == 0.05
    usual = bench_plan(runs=100, seconds=None)
    assert bench_plan(runs=1, seconds=30).warmup_seconds == usual.warmup_seconds > 0.05
