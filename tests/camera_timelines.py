"""A run in which much happens, and what was measured beside it, to make timelines of."""

from camera_records import MS, START_NS, simulate

from edgekit.camera.record import make_record
from edgekit.core.health import ClusterClock, HealthSnapshot, ThermalZone
from edgekit.core.layers import LayerProfile, LayerTime
from edgekit.core.power import ENERGY, PowerRecord, RailFacts, RailSeries

S = 1_000 * MS


def make_run(**changes):
    eventful = {
        "frames": 90,
        "times_ms": (3.0, 2.0, 90.0, 5.0, 1.0),
        "policies": ("latest", "block", "block", "drop-oldest", "block"),
        "corrupt": frozenset({3, 9}),
        "failed": {6: "inference", 41: "sink"},
        "away": ((1000, 1400), (2000, 2050)),
        "switch_at": 40,
        "stop_ms": 2900,
        "batch": 2,
        "stamp_ms": 40.0,  # longer than from one frame to the next
    }
    return make_record(*simulate(**(eventful | changes)))


def rail(label, times_ns, values, **facts):
    about = {"source": "hwmon", "sensor": f"ina-{len(values)}", "label": label}
    return RailSeries(RailFacts(**(about | facts)), tuple(times_ns), tuple(values))


POWER = PowerRecord(
    10.0, 30, 0, ended_full=False, wall_s=3.0, cpu_s=0.01,
    series=(
        rail("VDD_IN", range(START_NS, START_NS + 3 * S, S // 10), range(2_000, 32_000, 1_000)),
        rail("cores", [START_NS, START_NS + S, START_NS + 2 * S], [900, 400, 2_000_400],
             quantity=ENERGY, range_uj=1_000_000),
        rail("same", [START_NS], [1]),
        rail("same", [START_NS, START_NS + S], [1, 2]),
    ),
)  # fmt: skip
HEALTH = tuple(
    HealthSnapshot(
        START_NS + at * S,
        clusters=(
            ClusterClock(0, (0, 1, 2, 3), 1_800_000 - at * 100_000),
            ClusterClock(4, (4, 6), 600_000),
            ClusterClock(7, (7,), None),
        ),
        zones=(ThermalZone(0, "cpu-thermal", 45.5 + at), ThermalZone(1, "", 40.0)),
    )
    for at in range(3)
)
LAYERS = LayerProfile(
    "onnxruntime",
    "fp32",
    (
        LayerTime("conv1", ("c1",), "Conv", 6_000_000, 0.6, "CPU"),
        LayerTime("nothing", (), "Identity", 0, 0.0, "CPU"),
        LayerTime("head", ("c2", "c3"), "Gemm", 3_000_000, 0.3, "CPU"),
    ),
    9.0,
    8.0,
    0.0,
)
