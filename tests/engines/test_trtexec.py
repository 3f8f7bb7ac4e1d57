"""JetPack's trtexec, as far as recorded transcripts go."""

from pathlib import Path

import pytest

from edgekit.engines.tensorrt import runner_trtexec

TRANSCRIPTS = Path(__file__).with_name("trtexec")


def transcript(name):
    return (TRANSCRIPTS / f"{name}.log").read_text(encoding="utf-8")


def test_transcript_of_a_jetson_nano_gives_build_time_and_latency():
    said = runner_trtexec.parse(transcript("jetson-nano-8.2-passed"))
    assert said.passed is True
    assert said.version == "8.2.1"
    assert said.build_s == 184.708
    assert said.throughput_qps == 11.0613
    assert said.times_ms["GPU Compute Time"] == {
        "min": 89.0273,
        "max": 91.2045,
        "mean": 90.1061,
        "median": 90.0183,
        "percentile(99%)": 91.2045,
    }
    assert said.times_ms["Latency"]["median"] == 90.3035
    assert set(said.times_ms) == {
        "Latency",
        "Enqueue Time",
        "H2D Latency",
        "GPU Compute Time",
        "D2H Latency",
    }
    assert said.errors == said.unsupported == ()


def test_transcript_of_an_engine_built_before_has_no_build_time():
    said = runner_trtexec.parse(transcript("agx-xavier-8.4-passed"))
    assert said.passed is True
    assert said.version == "8.4.0"
    assert said.build_s is None
    assert said.times_ms["Latency"]["percentile(99%)"] == 0.420288


def test_transcript_without_an_end_has_no_verdict():
    said = runner_trtexec.parse(transcript("jetson-orin-10.3-cut-off"))
    assert said.passed is None
    assert said.version == "10.3.0"


def test_transcript_of_a_failure_tells_the_first_error():
    text = transcript("failed-8.2")
    said = runner_trtexec.parse(text)
    assert said.passed is False
    assert said.version == "8.2.2"
    assert len(said.errors) == 6
    assert "optimizer.cpp::match::2237" in runner_trtexec.why(said, 1, text)


def test_transcript_of_an_unknown_operator_names_it():
    text = transcript("unsupported-operator-8")
    said = runner_trtexec.parse(text)
    assert said.unsupported == ("GridSample",)
    assert runner_trtexec.why(said, 1, text) == "TensorRT has no operator GridSample"


def test_killed_trtexec_is_told_as_out_of_memory():
    text = transcript("jetson-orin-10.3-cut-off")
    assert "signal 9" in runner_trtexec.why(runner_trtexec.parse(text), -9, text)


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", {"--noTF32"}), ("fp16", {"--fp16"}), ("int8", {"--int8", "--fp16"})],
)
def test_command_asks_for_the_precision_and_no_other(precision, flags):
    words = runner_trtexec.command("trtexec", "m.onnx", "m.engine", "t", precision, (8, 5))
    assert set(words) & {"--fp16", "--int8", "--noTF32"} == flags
    assert "--timingCacheFile=t" in words
    assert not any(word.startswith("--workspace") for word in words)


def test_command_gives_old_versions_room_to_work():
    words = runner_trtexec.command("trtexec", "m.onnx", "m.engine", "t", "fp16", (8, 2))
    assert "--workspace=1024" in words


def test_missing_trtexec_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt install libnvinfer-bin"):
        runner_trtexec.find(places=())
