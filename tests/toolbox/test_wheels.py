"""Wheels for the board."""

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from edgekit.catalog.targets import load_target
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.wheels import excerpt_of, platform_tags, resolve


def test_platform_tags_aarch64_reach_down_to_manylinux2014():
    tags = platform_tags("aarch64", (2, 31))
    assert tags[0] == "manylinux_2_31_aarch64"
    assert tags[-1] == "linux_aarch64"
    assert "manylinux2014_aarch64" in tags
    assert "manylinux_2_32_aarch64" not in tags
    assert "manylinux2010_aarch64" not in tags


def test_platform_tags_x86_64_hold_all_legacy_names():
    tags = platform_tags("x86_64", (2, 36))
    assert {f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1")} <= set(
        tags
    )


def test_resolve_without_packages_is_an_empty_pack(facts, tmp_path):
    device = facts()
    spec = RuntimeSpec(device.pythons[0], tmp_path / "board.txt", ())
    pack = resolve(spec, device, emit=ignore)
    assert pack.wheels == ()
    assert pack.python == "/usr/bin/python3"


def test_resolve_musl_is_refused(facts):
    device = facts(libc="musl")
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    with pytest.raises(ToolboxError, match="musl"):
        resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)


def test_resolve_without_network_says_so(facts, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    device = facts()
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    with pytest.raises(ToolboxError) as caught:
        resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)
    assert "ncnn==" in caught.value.message
    assert "could not be fetched" in caught.value.message
    assert "reachable" in caught.value.hint


def test_excerpt_holds_what_was_named_and_equal_wheels_give_equal_bytes(tmp_path):
    made = []
    for year in (2001, 2020):
        wheel = tmp_path / str(year) / "some_lib-1.0-py3-none-any.whl"
        wheel.parent.mkdir()
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("lib/b.so", "lib/a.so", "lib/code.py"):
                info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
                info.external_attr = 0o100755 << 16
                archive.writestr(info, name * 100)
        made.append(excerpt_of(wheel, ("lib/b.so", "lib/a.so")))
    assert made[0].name == "some_lib-1.0-excerpt.zip"
    assert made[0].read_bytes() == made[1].read_bytes()
    with zipfile.ZipFile(made[0]) as archive:
        assert archive.namelist() == ["lib/a.so", "lib/b.so"]
        assert archive.read("lib/b.so") == b"lib/b.so" * 100
        assert archive.getinfo("lib/a.so").external_attr == 0o100755 << 16


def test_excerpt_of_what_a_wheel_lacks_names_it(tmp_path):
    wheel = tmp_path / "some_lib-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lib/a.so", "a")
    with pytest.raises(ToolboxError, match=r"lib/b\.so"):
        excerpt_of(wheel, ("lib/b.so",))


@pytest.mark.slow
@pytest.mark.network
def test_tvms_runtime_is_two_libraries_whatever_the_boards_python(facts):
    packs = []
    for python in ("3.6.9", "3.13.5"):
        device = facts("aarch64", python, "2.27" if python == "3.6.9" else "2.41")
        tvm = load_engine("tvm")
        spec = tvm.runtime(load_target("rk3566"), device)
        packs.append(resolve(spec, device, emit=ignore).wheels)
    old, new = ({wheel.path: wheel for wheel in pack} for pack in packs)
    names = {name for name in old if name.endswith("-excerpt.zip")}
    assert {name.split("-")[0] for name in names} == {"apache_tvm", "apache_tvm_ffi"}
    assert all(old[name].sha256 == new[name].sha256 for name in names)
    # What a board is sent besides the model, NumPy aside: issue 4 allows 6 MB.
    assert sum(old[name].size_bytes for name in names) < 6e6


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("machine", "python", "glibc", "tag"),
    [
        ("aarch64", "3.9.2", "2.31", "cp39"),
        ("aarch64", "3.10.12", "2.35", "cp310"),
        ("aarch64", "3.11.2", "2.36", "cp311"),
        ("aarch64", "3.13.5", "2.41", "cp313"),
        ("aarch64", "3.6.9", "2.27", "cp36"),
        ("armv7l", "3.11.2", "2.36", "cp311"),
    ],
)
def test_resolve_ncnn_finds_the_wheel_of_the_board(facts, machine, python, glibc, tag):
    device = facts(machine, python, glibc)
    lock = load_engine("ncnn").build_script.with_name("board.txt")
    pack = resolve(RuntimeSpec(device.pythons[0], lock, ("ncnn",)), device, emit=ignore)
    (wheel,) = pack.wheels
    assert f"-{tag}-" in wheel.path
    assert machine in wheel.path


def test_what_engines_share_is_fetched_for_the_first_of_them(facts, tmp_path, monkeypatch):
    from edgekit.catalog.cache import ContentStore

    fetched = []

    def fetch(command, _log, **_how):
        wanted = Path(command[-1].partition("=")[2])
        name = wanted.read_text(encoding="ascii").partition("==")[0]
        fetched.append(name)
        wanted.with_name(f"{name}-1-py3-none-any.whl").write_bytes(name.encode())
        return 0

    monkeypatch.setattr("edgekit.toolbox.wheels.run_logged", fetch)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    device = facts()

    def names(engine):
        lock = load_engine(engine).build_script.with_name("board.txt")
        spec = RuntimeSpec(device.pythons[0], lock, (engine, "numpy"))
        return sorted(
            wheel.source.read_text() for wheel in resolve(spec, device, emit=ignore).wheels
        )

    assert names("ncnn") == ["ncnn", "numpy"]
    assert names("mnn") == ["mnn", "numpy"]
    assert sorted(fetched) == ["mnn", "ncnn", "numpy"]
    # What has left the store is fetched again.
    ContentStore().path_of(sha256(b"numpy").hexdigest()).unlink()
    assert names("openvino") == ["numpy", "openvino"]
    assert sorted(fetched) == ["mnn", "ncnn", "numpy", "numpy", "openvino"]


@pytest.mark.network
def test_resolve_names_package_python_and_glibc_where_no_wheel_exists(facts):
    device = facts(glibc="2.27")
    lock = load_engine("onnxruntime").build_script.with_name("board.txt")
    spec = RuntimeSpec(device.pythons[0], lock, ("onnxruntime",))
    with pytest.raises(ToolboxError) as caught:
        resolve(spec, device, emit=ignore)
    for word in ("onnxruntime==", "Python 3.11", "glibc 2.27", "aarch64"):
        assert word in caught.value.message
    assert caught.value.hint
