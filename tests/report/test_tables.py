import json
from pathlib import Path

from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.measurement import Accuracy, Latency, Measurement, OutputError
from edgekit.core.report import Activation, Choice, Report, Transfer
from edgekit.core.target import DeviceFacts
from edgekit.report.candidates import candidate_table, summary_lines
from edgekit.report.runs import write_run
from edgekit.report.table import Column, Table


def facts(*, emulated):
    return DeviceFacts(
        hostname="board", machine="aarch64", kernel="6.1", os_name="Debian 12", libc="glibc",
        libc_version="2.36", model="Rock 3C", compatible=("rockchip,rk3566",), cpu_parts=(0xD05,),
        cpu_features=("fp",), cpu_count=4, cpu_usable=4, memory_total_bytes=1, pythons=(),
        memory_available_bytes=1, disk_free_bytes=1, agent_version="1", home="/h",
        emulated=emulated,
    )  # fmt: skip


def report(tmp_path, *, emulated=False):
    latency = Latency(min=9, mean=10, p50=10, p90=11, p99=12, runs=30)
    measured = Measurement(
        model=latency,
        end_to_end=None,
        fps=None if emulated else 100.0,
        memory_peak_bytes=50_000_000,
        load_ms=3.0,
        emulated=emulated,
        samples_ns=(10_000_000, 11_000_000),
    )
    rows = (
        CandidateResult(
            Candidate("ncnn", "fp16", (("threads", 4),)), "ok", size_bytes=3_900_000,
            measurement=measured, accuracy=Accuracy("agreement", 1.0, 1.0, 0.0),
            error=OutputError(1e-3, 1e-5, 0.9999, 0.25, 0.0007, 0, 12), bundle="b" * 64,
        ),
        CandidateResult(Candidate("onnxruntime", "fp32"), "unsupported", "no wheel for armv7l"),
    )  # fmt: skip
    return Report(
        run_id="20261121-000000-yolov5-rk3566-abcd",
        recipe="yolov5",
        target="rk3566",
        device_name="bench-pi",
        facts=facts(emulated=emulated),
        candidates=rows,
        best=Choice(rows[0].candidate, "b" * 64, "10.00 ms; the only one that passed"),
        pareto=(0,),
        active=Activation("b" * 64, None, 1, changed=True),
        transfer=Transfer(3, 4_000_000, 1),
        valid=not emulated,
        run_dir=tmp_path / "run",
        seconds={"total": 1.0},
    )


def test_table_is_aligned_in_plain_text():
    table = Table((Column("name"), Column("ms", numeric=True)), (("a", "10.5"), ("long", "1.0")))
    assert table.plain() == "name    ms\na     10.5\nlong   1.0"


def test_row_shows_figures_and_its_reason_stands_below(tmp_path):
    first, second = candidate_table(report(tmp_path)).plain().splitlines()[1:]
    for shown in ("ncnn", "fp16", "ok", "3.9", "10.00/11.00/12.00", "100.0", "50.0", "0.25 px"):
        assert shown in first
    assert "unsupported" in second
    assert "onnxruntime fp32: no wheel for armv7l" in summary_lines(report(tmp_path))


def test_emulated_board_shows_no_times(tmp_path):
    emulated = report(tmp_path, emulated=True)
    first = candidate_table(emulated).plain().splitlines()[1]
    assert "10.00" not in first
    assert "0.25 px" in first
    assert any(line.startswith("emulated: correctness only") for line in summary_lines(emulated))


def test_json_holds_the_promised_names(tmp_path):
    data = json.loads(json.dumps(report(tmp_path).as_json()))
    assert set(data) >= {
        "run_id", "recipe", "target", "device", "candidates", "chosen", "active", "valid",
        "run_dir",
    }  # fmt: skip
    row = data["candidates"][0]
    assert set(row) >= {
        "engine", "precision", "knobs", "status", "reason", "size_bytes", "latency_ms", "fps",
        "memory_peak_bytes", "accuracy", "error",
    }  # fmt: skip
    assert set(row["latency_ms"]) >= {"min", "mean", "p50", "p90", "p99"}
    assert set(row["accuracy"]) >= {"metric", "value", "reference", "drop", "interval", "images"}
    assert data["device"]["emulated"] is False


def test_run_folder_keeps_raw_samples(tmp_path):
    result = write_run(report(tmp_path), asked={"model": "yolov5"})
    assert json.loads(result.read_text())["run_id"].startswith("20261121")
    samples = json.loads(Path(result.parent, "samples", "ncnn-fp16.json").read_text())
    assert samples["model_ns"] == [10_000_000, 11_000_000]
    assert json.loads((result.parent / "asked.json").read_text()) == {"model": "yolov5"}
