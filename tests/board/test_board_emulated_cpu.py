"""Which processor stands in for which, and that it promises nothing it has not."""

import pytest

from edgekit.board.emulated_cpu import choose_model, emulator_for, known_models, shared_features
from edgekit.catalog.targets import load_target
from edgekit.core.errors import DeviceError

# As `qemu-aarch64-static -cpu help` and `qemu-arm-static -cpu help` print it.
QEMU_7_2 = """\
Available CPUs:
  a64fx
  cortex-a35
  cortex-a53
  cortex-a57
  cortex-a72
  cortex-a76
  max
  neoverse-n1
"""
QEMU_7_2_ARM = "Available CPUs:\n  arm926\n  cortex-a15\n  cortex-a7\n  cortex-a8\n  max\n  any\n"
# What later versions add.
QEMU_10_0 = QEMU_7_2 + "  cortex-a55\n  cortex-a710\n  neoverse-v1\n"


def test_known_models_reads_the_list():
    known = known_models(QEMU_7_2)
    assert "cortex-a53" in known
    assert len(known) == 8


@pytest.mark.parametrize(
    ("target", "listing", "expected"),
    [
        ("rk3566", QEMU_7_2, ("cortex-a76", False)),
        ("rk3566", QEMU_10_0, ("cortex-a55", True)),
        ("rk3568", QEMU_7_2, ("cortex-a76", False)),
        ("rk3399", QEMU_7_2, ("cortex-a53", True)),
        ("rk3588", QEMU_7_2, ("cortex-a76", True)),
        ("rk3588", QEMU_10_0, ("cortex-a55", True)),
        ("rpi3", QEMU_7_2, ("cortex-a53", True)),
        ("rpi4", QEMU_7_2, ("cortex-a72", True)),
        ("rpi5", QEMU_7_2, ("cortex-a76", True)),
        ("jetson-nano", QEMU_7_2, ("cortex-a57", True)),
        ("jetson-orin-nano", QEMU_7_2, ("cortex-a76", False)),
        # No core of QEMU's has half precision without dot product: an older one, never a newer.
        ("jetson-xavier-nx", QEMU_7_2, ("cortex-a72", False)),
        ("rpi3-32", QEMU_7_2_ARM, ("cortex-a15", False)),
        ("rpi3-32", QEMU_7_2_ARM + "  cortex-a53\n", ("cortex-a53", True)),
    ],
)
def test_choose_model_takes_the_nearest_core(target, listing, expected):
    assert choose_model(load_target(target), known_models(listing)) == expected


def test_choose_model_never_takes_the_core_that_can_do_everything():
    with pytest.raises(DeviceError, match="rk3566") as raised:
        choose_model(load_target("rk3566"), {"max", "a64fx"})
    assert "a64fx, max" in raised.value.hint


def test_choose_model_falls_back_to_an_older_core():
    assert choose_model(load_target("rk3566"), {"cortex-a53", "max"}) == ("cortex-a53", False)


def test_shared_features_promises_only_what_both_have():
    target = load_target("rk3566")
    assert shared_features(target, "cortex-a76") == target.features
    assert "asimddp" in target.features
    assert not {"asimddp", "fphp", "atomics"} & set(shared_features(target, "cortex-a53"))
    assert "asimd" in shared_features(target, "cortex-a53")


def test_emulator_follows_the_architecture():
    assert emulator_for("aarch64") == "qemu-aarch64-static"
    assert emulator_for("armv7l") == "qemu-arm-static"
