"""The folder that a flashed device finds in its home, made before there is a device."""

import struct
from pathlib import Path

import pytest

from edgekit.app.first_boot import FirstBundle, facts_of, first_bundle, home_files, stage
from edgekit.catalog.targets import load_target
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.flash import ImageSoftware

BOOKWORM = ImageSoftware(python="3.11", glibc="2.36")
_AARCH64 = 183  # Source: elf.h, EM_AARCH64


def test_agent_alone_stands_where_a_deployment_would_put_it(tmp_path):
    folder = tmp_path / "edgekit"
    staged = stage(load_target("rk3566"), BOOKWORM, folder)
    assert (folder / "agent" / f"agent-{staged.agent_sha256}.pyz").is_file()
    assert staged.bundle is None
    assert not (folder / "current").exists()
    with pytest.raises(UsageError, match="is there already"):
        stage(load_target("rk3566"), BOOKWORM, folder)


def test_facts_of_a_board_that_never_ran_are_its_kind_and_its_image():
    facts = facts_of(load_target("rk3399"), BOOKWORM)
    assert (facts.machine, facts.libc_version) == ("aarch64", "2.36")
    assert facts.cpu_parts.count(0xD08) == 2
    assert facts.cpu_parts.count(0xD03) == 4
    assert facts.pythons[0].version == "3.11"
    assert facts.emulated is False


def test_int8_is_refused_before_anything_is_built():
    wanted = FirstBundle("shapes", precision="int8")
    with pytest.raises(UsageError, match="judged on the device"):
        first_bundle(wanted, load_target("rk3566"), BOOKWORM)


def test_image_too_old_for_the_named_engine_is_told():
    wanted = FirstBundle("shapes", engine="openvino")
    with pytest.raises(EngineError, match=r"Python"):
        first_bundle(wanted, load_target("rk3566"), ImageSoftware("3.5", "2.28"))


@pytest.mark.network
@pytest.mark.toolbox
def test_first_bundle_stands_active_with_the_runtime_of_the_board(tmp_path):
    folder = tmp_path / "edgekit"
    wanted = FirstBundle("shapes", engine="onnxruntime", threads=2)
    staged = stage(load_target("rk3566"), BOOKWORM, folder, wanted)
    assert (folder / "current").readlink() == Path("generations/1")
    bundle = (folder / "current" / "bundle").resolve()
    assert bundle == (folder / "bundles" / staged.bundle).resolve()
    assert (bundle / "model.onnx").is_file()
    libraries = list((folder / "runtimes").rglob("*.so"))
    assert libraries
    for library in libraries:
        (machine,) = struct.unpack_from("<H", library.read_bytes(), 18)
        assert machine == _AARCH64, library
    files = {each.path: each for each in home_files(staged)}
    assert files[".edgekit/current"].link == "generations/1"
    assert files[".edgekit/generations/1/bundle"].link == f"../../bundles/{staged.bundle}"
    model = files[f".edgekit/bundles/{staged.bundle}/model.onnx"]
    assert model.source.read_bytes() == (bundle / "model.onnx").read_bytes()
    assert ".edgekit/lock" not in files
