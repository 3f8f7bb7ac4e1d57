import dataclasses
import platform
import tomllib

import pytest

from edgekit.catalog.folders import builtin_folder
from edgekit.catalog.targets import (
    architecture_of,
    load_target,
    match_target,
    read_target,
    target_names,
)
from edgekit.core.errors import CatalogError, UnknownNameError
from edgekit.core.target import DeviceFacts, Target

NAMES = [
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-xavier-nx",
    "local",
    "rk3399",
    "rk3566",
    "rk3568",
    "rk3588",
    "rpi3",
    "rpi3-32",
    "rpi4",
    "rpi5",
]
BOARDS = [name for name in NAMES if name != "local"]
# A title is a title, and sources back the rest.
UNBACKED = {"title", "sources"}
# MIDR_EL1 part numbers; Source: Linux arch/arm64/include/asm/cputype.h.
PARTS = {
    "cortex-a53": 0xD03,
    "cortex-a55": 0xD05,
    "cortex-a57": 0xD07,
    "cortex-a72": 0xD08,
    "cortex-a76": 0xD0B,
    "cortex-a78ae": 0xD42,
    "carmel": 0x004,
}


def facts(*compatible, machine="aarch64"):
    return DeviceFacts(
        hostname="board",
        machine=machine,
        kernel="6.1",
        os_name="Debian",
        libc="glibc",
        libc_version="2.36",
        model=None,
        compatible=compatible,
        cpu_parts=(),
        cpu_features=(),
        cpu_count=4,
        cpu_usable=4,
        memory_total_bytes=None,
        memory_available_bytes=None,
        disk_free_bytes=None,
        pythons=(),
        agent_version="0",
        home="/root",
        emulated=False,
    )


def test_every_promised_target_is_there():
    assert list(target_names()) == NAMES


@pytest.mark.parametrize("name", BOARDS)
def test_every_fact_of_a_target_has_a_source(name):
    target = load_target(name)
    stated = tomllib.loads(target.defined_in.read_text("utf-8")).keys() - UNBACKED
    backed = {key for source in target.sources for key in source.keys}
    assert stated <= backed, f"no source for {sorted(stated - backed)}"
    assert backed <= stated, f"sources for what is not said: {sorted(backed - stated)}"
    assert all(len(source.reference) > 20 for source in target.sources)


@pytest.mark.parametrize("name", BOARDS)
def test_every_target_says_what_a_deployment_needs(name):
    target = load_target(name)
    for key in ("soc", "clusters", "features", "memory_mb", "compatible", "flash_methods"):
        assert getattr(target, key), key
    assert len(target.pythons) == len(target.glibc)
    assert list(target.memory_mb) == sorted(target.memory_mb)
    for versions in (target.pythons, target.glibc):
        ordered = sorted(versions, key=lambda version: [int(part) for part in version.split(".")])
        assert list(versions) == ordered
    for cluster in target.clusters:
        assert cluster.midr_part == PARTS[cluster.core]
        assert 1000 <= cluster.max_mhz <= 3000
        assert cluster.core in target.mcpu or cluster.core == "carmel"
    for rail in target.power_rails:
        assert rail.scope in {"rail", "module", "board"}
    for accelerator in target.accelerators:
        assert accelerator.kind in {"gpu", "npu", "dla"}
    dot_product = {"cortex-a55", "cortex-a76", "cortex-a78ae"}
    cores = {cluster.core for cluster in target.clusters}
    assert ("asimddp" in target.features) == bool(cores & dot_product)


def test_compatible_strings_tell_targets_of_one_architecture_apart():
    owners = {}
    for name in BOARDS:
        target = load_target(name)
        for string in target.compatible:
            assert owners.setdefault((string, target.architecture), name) == name


def test_local_target_is_this_machine(monkeypatch):
    local = load_target("local")
    assert local.architecture == architecture_of(platform.machine())
    assert local.compatible == ()
    assert local.mcpu == "native"
    assert local.cores >= 1
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert load_target("local").triple == "aarch64-linux-gnu"
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CatalogError, match="architecture is 'riscv64', must be one of"):
        load_target("local")


@pytest.mark.parametrize("name", ["rk3565", "RK3566", "../rk3566", "", "a" * 500])
def test_unknown_target_is_told_what_was_meant(name):
    with pytest.raises(UnknownNameError) as caught:
        load_target(name)
    assert caught.value.hint
    if name == "rk3565":
        assert "did you mean" in caught.value.hint
        assert "rk3566" in caught.value.hint


@pytest.mark.parametrize(
    ("compatible", "machine", "name"),
    [
        (("radxa,zero3w", "rockchip,rk3566"), "aarch64", "rk3566"),
        (("raspberrypi,3-model-b-plus", "brcm,bcm2837"), "aarch64", "rpi3"),
        (("raspberrypi,3-model-b-plus", "brcm,bcm2837"), "armv7l", "rpi3-32"),
        (("raspberrypi,3-model-b", "brcm,bcm2837"), "armv8l", "rpi3-32"),
        (("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"), "aarch64",
         "jetson-orin-nano"),
        (("nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"), "aarch64", "jetson-agx-orin"),
        # An Orin NX shares chip and carrier, and is neither.
        (("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"), "aarch64",
         None),
        (("rockchip,rk3566",), "armv7l", None),
        (("unheard,of",), "aarch64", None),
        ((), "x86_64", None),
        ((), "riscv64", None),
    ],
)  # fmt: skip
def test_match_target_goes_by_compatible_and_userland(compatible, machine, name):
    assert match_target(facts(*compatible, machine=machine)) == name


def test_match_target_prefers_the_most_specific_string(tmp_path, monkeypatch):
    own = tmp_path / "own" / "targets"
    own.mkdir(parents=True)
    text = (builtin_folder("targets") / "rk3566.toml").read_text("utf-8")
    (own / "zero3.toml").write_text(text.replace('"rockchip,rk3566"', '"radxa,zero3w"'))
    monkeypatch.setenv("EDGEKIT_CATALOG_PATH", str(own.parent))
    assert match_target(facts("radxa,zero3w", "rockchip,rk3566")) == "zero3"
    assert match_target(facts("radxa,rock-3c", "rockchip,rk3566")) == "rk3566"


def test_own_folder_wins_over_the_built_in(tmp_path, monkeypatch):
    own = tmp_path / "targets"
    own.mkdir()
    text = (builtin_folder("targets") / "rk3566.toml").read_text("utf-8")
    (own / "rk3566.toml").write_text(text.replace("max_mhz = 1800", "max_mhz = 1416"))
    (own / "not a name.toml").write_text("")
    monkeypatch.setenv("EDGEKIT_CATALOG_PATH", str(tmp_path))
    assert load_target("rk3566").clusters[0].max_mhz == 1416
    assert list(target_names()) == NAMES


def test_wrong_target_tells_every_fault_with_its_line(tmp_path):
    text = (builtin_folder("targets") / "rk3566.toml").read_text("utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(
        text.replace("mcpu =", "mcp =")
        .replace("count = 4", 'count = "4"')
        .replace('architecture = "aarch64"', 'architecture = "arm64"')
    )
    with pytest.raises(CatalogError) as caught:
        read_target(file)
    lines = file.read_text().splitlines()
    for text, fault in (
        ("mcp =", "unknown key 'mcp'; did you mean 'mcpu'?"),
        ("architecture =", "architecture is 'arm64', must be one of 'aarch64', 'armv7l', 'x86_64'"),
        ('count = "4"', "clusters[0].count must be an integer, is a string"),
    ):
        number = next(n for n, line in enumerate(lines, 1) if line.startswith(text))
        assert f"mine.toml:{number}: {fault}" in caught.value.message
    assert "mine.toml:1: key 'mcpu' is missing" in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("count = 4", "count = 0", r":\d+: clusters\[0\]\.count must be at least 1"),
        ("max_mhz = 1800", "max_mhz = -1", r"max_mhz must not be negative"),
        ("aarch64-linux-gnu", "arm-linux-gnueabi", "triple of an aarch64 target must be"),
        ('keys = ["memory_mb"]', 'keys = ["memory"]', "backs 'memory', which is no key"),
        ('"rockusb"', '"rockub"', "must be one of .*'rockusb'.*did you mean 'rockusb'"),
        ('"2207:350a"', '"2207:35"', r"usb_boot.ids\[0\] is '2207:35', must be like '2207:350b'"),
        ('"sdcard", "rockusb"', '"sdcard"', "usb_boot serves none of the flash_methods"),
        ('"sdcard", "rockusb"', '"jetson"', "usb_boot.board is missing"),
        ('[usb_boot]\nids = ["2207:350a"]\n', "", "has 'rockusb', which needs \\[usb_boot\\]"),
    ],
)
def test_target_that_cannot_be_meant_is_refused(tmp_path, old, new, fault):
    text = (builtin_folder("targets") / "rk3566.toml").read_text("utf-8")
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new))
    with pytest.raises(CatalogError, match=fault):
        read_target(file)


def test_every_field_of_target_can_be_said_in_toml():
    said = {
        key
        for name in NAMES
        for key in tomllib.loads((builtin_folder("targets") / f"{name}.toml").read_text("utf-8"))
    }
    assert said == {field.name for field in dataclasses.fields(Target)} - {"name", "defined_in"}


def test_builtin_folder_is_the_wheels_own_data_where_there_is_any(tmp_path, monkeypatch):
    package = tmp_path / "edgekit"
    package.mkdir()
    monkeypatch.setattr("edgekit.__file__", str(package / "__init__.py"))
    assert builtin_folder("targets") == tmp_path / "targets"
    (package / "data" / "targets").mkdir(parents=True)
    assert builtin_folder("targets") == package / "data" / "targets"
