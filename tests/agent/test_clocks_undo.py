"""Pinning and undoing on kernels of several manners: what was asked for before stands again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.clocks.domains import Domain, Files
from device_agent.clocks.guardian import _told, _write
from device_agent.clocks.plan import PERFORMANCE, Plan
from device_agent.clocks.undo import undo

STEPS = (300, 600, 900, 1200, 1500)
FOLDER = "devices/system/cpu/cpufreq/policy0"


class Kernel(Files):
    """One policy as the kernel keeps it: what was asked for, and what heat leaves of it.

    Args:
        old: refuse a lower limit above the upper one, as older kernels do.
    """

    def __init__(self, low=300, high=1500, governor="ondemand", *, old=False, tuned=50):
        super().__init__("/nowhere")
        self.asked = {"min": low, "max": high}
        self.governor = governor
        self.old = old
        self.heat = STEPS[-1]
        self.speed = 600
        self.tuned = tuned
        self.refusing = {}

    def effective(self):
        high = min(self.asked["max"], self.heat)
        return min(self.asked["min"], high), high

    def read(self, path):
        name = path.removeprefix(FOLDER + "/")
        low, high = self.effective()
        return {
            "scaling_governor": self.governor,
            "scaling_available_governors": "performance ondemand userspace schedutil",
            "scaling_min_freq": str(low),
            "scaling_max_freq": str(high),
            "scaling_cur_freq": str(high if self.governor == PERFORMANCE else low),
            "scaling_available_frequencies": " ".join(map(str, STEPS)),
            "scaling_setspeed": str(self.speed) if self.governor == "userspace" else "<u>",
            "ondemand/up_threshold": str(self.tuned) if self.governor == "ondemand" else None,
        }.get(name)

    def write(self, path, text):
        name = path.removeprefix(FOLDER + "/")
        if self.refusing.get(name):
            return self.refusing[name]
        if name == "scaling_governor":
            if text == "ondemand" != self.governor:
                self.tuned = 80  # the kernel's own, each time it starts
            if text == "userspace" != self.governor:
                self.speed = self.effective()[0]
            self.governor = text
        elif name == "ondemand/up_threshold":
            if self.governor != "ondemand":
                return "ENOENT"
            self.tuned = int(text)
        elif name == "scaling_setspeed" and self.governor == "userspace":
            self.speed = int(text)
        elif name in {"scaling_min_freq", "scaling_max_freq"}:
            asked = {**self.asked, name[8:11]: int(text)}
            if self.old and asked["min"] > asked["max"]:
                return "EINVAL"
            self.asked = asked
        else:
            return "EINVAL"
        return ""

    def names(self, folder):
        return ["up_threshold"] if folder == f"{FOLDER}/{self.governor}" == f"{FOLDER}/ondemand" \
            else []  # fmt: skip

    def writable(self, _path):
        return True

    def is_setting(self, _path):
        return True

    def state(self):
        tuned = self.tuned if self.governor == "ondemand" else None
        speed = self.speed if self.governor == "userspace" else None
        return self.asked, self.governor, tuned, speed


def pin(kernel, wanted=PERFORMANCE):
    plan = Plan(Domain("policy0", "cpu"), kernel, wanted)
    _write(kernel, plan)
    return plan


kernels = st.builds(
    lambda limits, governor, old: Kernel(min(limits), max(limits), governor, old=old),
    st.tuples(st.sampled_from(STEPS), st.sampled_from(STEPS)),
    st.sampled_from(["ondemand", "userspace", "schedutil", "performance"]),
    st.booleans(),
)


@given(kernels, st.sampled_from([PERFORMANCE, *STEPS]))
def test_clock_is_pinned_and_everything_comes_back(kernel, wanted):
    before = kernel.state()
    plan = pin(kernel, wanted)
    told = _told(plan, kernel)
    assert told["pinned"], told
    if wanted == PERFORMANCE:
        assert kernel.governor == PERFORMANCE
    else:
        assert kernel.effective() == (wanted, wanted)
    done = undo(kernel, plan.changes)
    assert kernel.state() == before
    assert (done.differing, done.left, done.failed) == ([], [], [])


@given(kernels, st.sampled_from(STEPS), st.sampled_from(STEPS))
def test_heat_in_mid_run_is_told_and_does_not_stay(kernel, wanted, heat):
    before = kernel.state()
    plan = pin(kernel, wanted)
    kernel.heat = heat
    done = undo(kernel, plan.changes)
    kernel.heat = STEPS[-1]
    assert kernel.state() == before
    if heat < wanted and plan.changes and heat not in before[0].values():
        assert done.differing


@pytest.mark.parametrize("chosen", ["schedutil", "userspace"])
def test_governor_that_somebody_else_chose_is_his(chosen):
    kernel = Kernel()
    plan = pin(kernel)
    kernel.governor = chosen
    kernel.speed = 900
    done = undo(kernel, plan.changes)
    assert kernel.governor == chosen
    assert kernel.speed == 900
    assert done.left == [f"{FOLDER}/scaling_governor"]
    assert done.differing == [[f"{FOLDER}/scaling_governor", "performance", chosen]]


def test_undoing_twice_changes_nothing_more():
    kernel = Kernel(tuned=50)
    plan = pin(kernel)
    undo(kernel, plan.changes)
    before = kernel.state()
    assert undo(kernel, plan.changes).restored == []
    assert kernel.state() == before


@pytest.mark.parametrize("why", ["EACCES", "EBUSY", "EINVAL"])
def test_governor_that_is_refused_is_told_and_nothing_is_changed(why):
    kernel = Kernel()
    before = kernel.state()
    kernel.refusing = {"scaling_governor": why}
    plan = pin(kernel)
    told = _told(plan, kernel)
    assert not told["pinned"]
    assert told["set"] == []
    assert told["refused"] == [{"file": "scaling_governor", "why": why, "more": ""}]
    assert kernel.state() == before


@pytest.mark.parametrize("refused", ["scaling_min_freq", "scaling_max_freq"])
def test_half_of_two_limits_is_taken_back(refused):
    kernel = Kernel(low=300, high=1500)
    kernel.refusing = {refused: "EBUSY"}
    before = kernel.state()
    plan = pin(kernel, 900)
    assert kernel.state() == before
    assert refused in {each["file"] for each in plan.refused}
    assert not _told(plan, kernel)["pinned"]


def test_limit_that_the_kernel_did_not_keep_is_told():
    kernel = Kernel()
    kernel.heat = 600  # told by no cooling device
    plan = pin(kernel, 900)
    whys = {(each["file"], each["why"], each["more"]) for each in plan.refused}
    assert ("scaling_max_freq", "not_kept", "600") in whys
    assert kernel.effective() == (300, 600)


def test_file_that_refuses_to_be_put_back_is_told_to_be_tried_again():
    kernel = Kernel()
    plan = pin(kernel)
    kernel.refusing = {"scaling_governor": "EBUSY"}
    assert undo(kernel, plan.changes).failed == [[f"{FOLDER}/scaling_governor", "EBUSY"]]
    kernel.refusing = {}
    assert undo(kernel, plan.changes).failed == []
    assert kernel.governor == "ondemand"
    assert kernel.tuned == 50


def test_clock_that_vanished_is_no_failure():
    kernel = Kernel()
    plan = pin(kernel, 900)
    kernel.refusing = {"scaling_min_freq": "ENOENT", "scaling_max_freq": "ENOENT"}
    assert undo(kernel, plan.changes).failed == []
