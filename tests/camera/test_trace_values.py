"""What a timeline shows over time is what the record, the meters and the snapshots say."""

import numpy as np
import pytest
from camera_records import START_NS, simulate
from camera_timelines import S, make_run, rail

from edgekit.camera.record import make_record
from edgekit.camera.trace_counters import clocks, queue_depth, rate, watts
from edgekit.camera.trace_slices import drops
from edgekit.core.health import ClusterClock, HealthSnapshot
from edgekit.core.power import ENERGY


def test_depth_counts_frames_that_come_and_go_at_once_as_neither():
    record = make_run(times_ms=(0.0, 0.0, 90.0, 0.0, 0.0), policies=("latest",) * 5)
    for index, queue in enumerate(record.queues):
        points = list(queue_depth(record, index))
        times = [at for at, _ in points]
        assert times == sorted(set(times))
        assert all(0 <= depth <= queue.depth for _, depth in points)


@pytest.mark.parametrize(
    ("moments", "end_ns", "wanted"),
    [
        ([0, 1, 2, S, 4 * S, 4 * S + 1, 5 * S + 1], 5 * S + 1,
         [(0, 3.0), (S, 1.0), (2 * S, 0.0), (4 * S, 2.0)]),
        ([0, S, S + 1, S + 2], 16 * S // 10 - 1, [(0, 1.0), (S, 5.0)]),
        ([0], 16 * S // 10 - 1, [(0, 1.0), (S, 0.0)]),
        ([5, 9], S // 5 - 1, [(0, 10.0)]),
        ([], 0, [(0, 0.0)]),
        ([-1, 7 * S], 2 * S - 1, [(0, 0.0)]),
    ],
)  # fmt: skip
def test_rate_is_of_each_second(moments, end_ns, wanted):
    later = np.array(moments, np.int64) + START_NS
    found = list(rate(later, (START_NS, START_NS + end_ns)))
    assert [(at - START_NS, value) for at, value in found] == wanted


def test_energy_counter_that_was_reset_gives_no_power():
    series = rail("cpu", [0, S, 2 * S, 2 * S], [5, 4, 10, 20], quantity=ENERGY, range_uj=1 << 62)
    assert list(watts(series)) == [(S, 6e-6)]


def test_clock_without_cores_is_named_by_its_policy():
    states = [HealthSnapshot(1, clusters=(ClusterClock(3, (), 1000),))]
    assert clocks(states) == {"policy 3": [(1, 1.0)]}


def test_line_that_broke_is_told_at_its_end():
    table, rows = simulate(frames=3)
    table["broken"] = "inference: out of luck"
    record = make_record(table, rows)
    assert list(drops(record)) == [
        (record.span_ns[1], "broken", (("cause", "inference: out of luck"),), None)
    ]
