"""What would be written to pin a clock, from plain trees."""

import pytest
from clock_tree import CPUFREQ, GPU, ClockTree

from device_agent.clocks.domains import Files, find
from device_agent.clocks.plan import PERFORMANCE, Plan


@pytest.fixture
def tree(tmp_path):
    return ClockTree(tmp_path)


def plan(tree, name="policy0", wanted=PERFORMANCE, files=None):
    files = files or Files(str(tree.sys))
    domain = {domain.name: domain for domain in find(files, devices=True)}[name]
    return Plan(domain, files, wanted)


def written(made):
    return {
        change["path"].rpartition("/")[2]: (change["was"], change.get("set"))
        for change in made.changes
    }


def test_every_clock_is_found_in_order(tree):
    tree.put(f"{CPUFREQ}/policy10/scaling_governor", "schedutil")
    (tree.root / CPUFREQ / "policy7").mkdir()  # all its cores are offline
    files = Files(str(tree.sys))
    names = [domain.name for domain in find(files, devices=True)]
    assert names == ["policy0", "policy4", "policy10", "ff9a0000.gpu"]
    assert [domain.name for domain in find(files, devices=False)] == names[:3]


def test_machine_without_cpufreq_has_no_clock(tmp_path):
    (tmp_path / "sys/devices/system/cpu/cpufreq").mkdir(parents=True)
    assert find(Files(str(tmp_path / "sys")), devices=True) == []


def test_highest_clock_is_pinned_by_the_governor_alone(tree):
    made = plan(tree)
    assert written(made) == {"scaling_governor": ("schedutil", "performance")}
    assert made.was == {
        "governor": "schedutil", "min_hz": 408000000, "max_hz": 1416000000,
        "current_hz": 408000000,
    }  # fmt: skip


def test_governor_that_is_there_already_needs_nothing(tree):
    tree.put(f"{CPUFREQ}/policy0/scaling_governor", "performance")
    assert plan(tree).changes == []


def test_what_a_governor_is_tuned_to_is_kept(tree):
    tree.put(f"{CPUFREQ}/policy0/scaling_governor", "ondemand")
    tree.put(f"{CPUFREQ}/ondemand/up_threshold", 50)
    tree.put(f"{CPUFREQ}/policy0/ondemand/sampling_rate", 100000)
    counter = tree.root / CPUFREQ / "ondemand/times"
    counter.write_text("7")
    counter.chmod(0o444)
    assert written(plan(tree)) == {
        "scaling_governor": ("ondemand", "performance"),
        "up_threshold": ("50", None),
        "sampling_rate": ("100000", None),
    }


def test_speed_of_userspace_is_kept(tree):
    tree.put(f"{CPUFREQ}/policy0/scaling_governor", "userspace")
    tree.put(f"{CPUFREQ}/policy0/scaling_setspeed", 816000)
    assert written(plan(tree))["scaling_setspeed"] == ("816000", None)


class Unwritable(Files):
    """Files of which this user may not write some."""

    names_refused = ()

    def writable(self, path):
        return path.rpartition("/")[2] not in self.names_refused


@pytest.mark.parametrize("refused", ["scaling_governor", "rate_limit_us"])
def test_limits_are_used_where_a_governor_could_not_be_put_back(tree, refused):
    tree.put(f"{CPUFREQ}/policy0/schedutil/rate_limit_us", 2000)
    files = Unwritable(str(tree.sys))
    files.names_refused = (refused,)
    made = plan(tree, files=files)
    assert written(made) == {
        "scaling_min_freq": ("408000", "1416000"),
        "scaling_max_freq": ("1416000", "1416000"),
    }


def test_limits_are_used_where_performance_is_not_offered(tree):
    tree.put(f"{CPUFREQ}/policy0/scaling_available_governors", "schedutil powersave")
    tree.put(f"{CPUFREQ}/policy0/scaling_max_freq", 1200000)
    # What the limits allow now, such as by a power mode, is not raised.
    assert written(plan(tree))["scaling_min_freq"] == ("408000", "1200000")


def test_clock_that_was_asked_for_is_pinned_by_limits(tree):
    made = plan(tree, wanted=1008000)
    assert written(made) == {
        "scaling_min_freq": ("408000", "1008000"),
        "scaling_max_freq": ("1416000", "1008000"),
    }


@pytest.mark.parametrize(("wanted", "offered"), [(1000000, "1008000"), (2000000, "1416000")])
def test_clock_that_is_not_offered_is_refused_with_what_is(tree, wanted, offered):
    [refusal] = plan(tree, wanted=wanted).refused
    assert refusal["why"] == "not_offered"
    assert offered in refusal["more"].split()


def test_clock_out_of_the_hardwares_range_is_refused(tree):
    tree.put(f"{CPUFREQ}/policy0/scaling_available_frequencies", "")
    [refusal] = plan(tree, wanted=2000000).refused
    assert (refusal["why"], refusal["more"]) == ("not_offered", "408000 to 1416000")


def test_gpu_is_pinned_by_limits(tree):
    assert written(plan(tree, "ff9a0000.gpu")) == {
        "min_freq": ("200000000", "800000000"),
        "max_freq": ("800000000", "800000000"),
    }


def test_limits_of_a_hot_device_are_not_touched(tree):
    tree.put("sys/class/thermal/cooling_device2/cur_state", 1)  # its GPU
    assert [each["why"] for each in plan(tree, "ff9a0000.gpu").refused] == ["throttled"]
    assert plan(tree, wanted=1008000).refused == []
    tree.put("sys/class/thermal/cooling_device0/cur_state", 2)
    made = plan(tree, wanted=1008000)
    assert [each["why"] for each in made.refused] == ["throttled"]
    assert made.changes == []
    # The governor is no limit: what it was can be read.
    assert plan(tree).refused == []


def test_files_that_are_absent_are_said_to_be(tree):
    (tree.root / GPU / "min_freq").unlink()
    assert [each["why"] for each in plan(tree, "ff9a0000.gpu").refused] == ["absent"]
