"""A timeline's file is sound whatever the run was like, or is not written and says why."""

import os
import sys
from collections import defaultdict

import pytest
from camera_records import START_NS, simulate
from camera_timelines import LAYERS, POWER, make_run, rail
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_processor import has_perfetto

from edgekit.camera import trace
from edgekit.camera.record import make_record
from edgekit.camera.trace import write_trace
from edgekit.core.errors import UsageError
from edgekit.core.health import HealthSnapshot, ThermalZone
from edgekit.core.power import PowerRecord

needs_perfetto = pytest.mark.skipif(
    not has_perfetto(), reason="the package perfetto is not installed"
)


def events_of(path):
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    by_track = defaultdict(list)
    for packet in Trace.FromString(path.read_bytes()).packet:
        if packet.HasField("track_event"):
            by_track[packet.track_event.track_uuid].append((packet.timestamp, packet.track_event))
    for events in by_track.values():
        events.sort(key=lambda event: event[0])  # stable, as the trace processor sorts
    return by_track, TrackEvent


@needs_perfetto
@given(
    st.fixed_dictionaries(
        {
            "frames": st.integers(0, 25),
            "period_ms": st.floats(0.05, 40),
            "stamp_ms": st.floats(-3, 90),
            "times_ms": st.tuples(*[st.sampled_from([0.0, 1.0, 30.0])] * 5),
            "policies": st.tuples(*[st.sampled_from(["block", "drop-oldest", "latest"])] * 5),
            "depths": st.tuples(*[st.integers(1, 4)] * 5),
            "batch": st.integers(1, 4),
            "corrupt": st.frozensets(st.integers(0, 24), max_size=3),
            "stop_ms": st.none() | st.floats(1, 500),
        }
    )
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_slices_of_any_run_nest(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("any") / "run.pftrace"
    record = make_record(*simulate(**run))
    write_trace(record, path, layers=LAYERS)
    by_track, event = events_of(path)
    begun = 0
    for events in by_track.values():
        is_open = []
        for _, each in events:
            if each.type == event.TYPE_SLICE_BEGIN:
                begun += 1
                assert len(is_open) < 2
                is_open.append(each.name)
            elif each.type == event.TYPE_SLICE_END:
                name = is_open.pop()
                assert name.startswith("frame") == (not is_open)
        assert is_open == []
    assert begun >= record.frames


@needs_perfetto
def test_every_moment_is_of_the_monotonic_clock(tmp_path):
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import BUILTIN_CLOCK_MONOTONIC, Trace

    record = make_run()
    write_trace(record, tmp_path / "run", power=POWER)
    snapshot, defaults, *others = Trace.FromString((tmp_path / "run").read_bytes()).packet
    assert snapshot.clock_snapshot.primary_trace_clock == BUILTIN_CLOCK_MONOTONIC
    (clock,) = snapshot.clock_snapshot.clocks
    assert (clock.clock_id, clock.timestamp) == (BUILTIN_CLOCK_MONOTONIC, record.span_ns[0])
    assert defaults.trace_packet_defaults.timestamp_clock_id == BUILTIN_CLOCK_MONOTONIC
    assert not any(packet.HasField("timestamp_clock_id") for packet in others)


@needs_perfetto
def test_flow_of_each_frame_ends_once_with_its_last_event(tmp_path):
    record = make_run()
    write_trace(record, tmp_path / "run")
    by_track, _ = events_of(tmp_path / "run")
    last_ns, ended_ns = {}, defaultdict(list)
    for at_ns, event in (each for events in by_track.values() for each in events):
        for flow in (*event.flow_ids, *event.terminating_flow_ids):
            last_ns[flow] = max(at_ns, last_ns.get(flow, 0))
        for flow in event.terminating_flow_ids:
            ended_ns[flow].append(at_ns)
    assert len(last_ns) == record.frames
    assert ended_ns == {flow: [at_ns] for flow, at_ns in last_ns.items()}


@needs_perfetto
def test_pieces_make_the_trace_that_one_would(tmp_path, monkeypatch):
    record = make_run()
    write_trace(record, tmp_path / "whole", power=POWER, layers=LAYERS)
    monkeypatch.setattr("edgekit.camera.trace_file._CHUNK", 100)
    write_trace(record, tmp_path / "pieces", power=POWER, layers=LAYERS)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


@needs_perfetto
def test_layers_stop_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "MOST_LAYER_SLICES", 5)
    write_trace(make_run(), tmp_path / "run", layers=LAYERS)
    by_track, _ = events_of(tmp_path / "run")
    named = sum(bool(each.name_iid) for events in by_track.values() for _, each in events)
    blocked = named - 2 * 2
    write_trace(make_run(), tmp_path / "run")
    by_track, _ = events_of(tmp_path / "run")
    assert blocked == sum(bool(e.name_iid) for events in by_track.values() for _, e in events) > 0


@needs_perfetto
def test_names_of_any_bytes_are_written(tmp_path):
    table, rows = simulate(frames=5, away=((60, 90),))
    table["source"]["name"] = "/dev/\udcff"
    table["away"][0][2] = "\ud800 lone"
    write_trace(make_record(table, rows), tmp_path / "run")
    assert b"/dev/?" in (tmp_path / "run").read_bytes()


@needs_perfetto
def test_readings_beyond_all_clocks_are_left_out(tmp_path):
    odd = PowerRecord(
        1.0, 3, 0, ended_full=False, wall_s=1.0, cpu_s=0.0,
        series=(rail("odd", [-5, START_NS], [1, 2]),),
    )  # fmt: skip
    late = HealthSnapshot(1 << 80, zones=(ThermalZone(0, "cpu", 1.0),))
    write_trace(make_run(), tmp_path / "run", power=odd, health=[late])
    write_trace(make_run(), tmp_path / "one", power=odd)
    counted = [
        sum(
            event.HasField("double_counter_value")
            for events in tracks.values()
            for _, event in events
        )
        for tracks, _ in (events_of(tmp_path / "run"), events_of(tmp_path / "one"))
    ]
    assert counted[0] == counted[1] > 0


@needs_perfetto
def test_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match="absent") as caught:
        write_trace(make_run(), tmp_path / "absent" / "run.pftrace")
    assert caught.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        write_trace(make_run(), tmp_path / "file" / "run.pftrace")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="folder"):
        write_trace(make_run(), tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


@needs_perfetto
def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe: it is no plain file"):
        write_trace(make_run(), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("run.pftrace")
    write_trace(make_run(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "run.pftrace").stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link", "run.pftrace"}
    (tmp_path / "round").symlink_to("round")  # leads nowhere: its place is taken
    write_trace(make_run(), tmp_path / "round")
    assert (tmp_path / "round").is_file()


def test_missing_package_is_named_and_the_former_file_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "perfetto.trace_builder.proto_builder", None)
    path = tmp_path / "run.pftrace"
    path.write_bytes(b"former")
    with pytest.raises(UsageError, match="Perfetto") as caught:
        write_trace(make_run(), path)
    assert "edgekit[camera]" in caught.value.hint
    assert path.read_bytes() == b"former"
    assert [file.name for file in tmp_path.iterdir()] == ["run.pftrace"]
