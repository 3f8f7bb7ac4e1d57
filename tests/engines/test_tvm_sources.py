"""Where TVM's runtime is compiled from: a user's tree that is none, or not the right one."""

import re

import pytest

from edgekit.app.runtimes import refuse_sources, tvm_sources
from edgekit.catalog.folders import builtin_folder
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.target import PythonFacts
from edgekit.engines.tvm.sources import how_to_clone, in_tree, in_wheels, wanted_version


def write(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n")


@pytest.fixture(autouse=True)
def no_tree_of_the_users(monkeypatch):
    monkeypatch.delenv("TVM_SOURCE", raising=False)
    monkeypatch.delenv("EDGEKIT_TVM_SOURCE", raising=False)


@pytest.fixture
def make_tree(tmp_path):
    """Make a tree with all that is asked of one, but what the test changes."""

    def make(version=None, ffi="0.1", without=""):
        root = tmp_path / "tvm"
        for library in _paths(root):
            write(root, library)
        base = root / "include" / "tvm" / "runtime" / "base.h"
        base.parent.mkdir(parents=True)
        base.write_text(f'#ifndef TVM_VERSION\n#define TVM_VERSION "{version or wanted_version()}"')
        header = root / "3rdparty" / "tvm-ffi" / "include" / "tvm" / "ffi" / "c_api.h"
        header.parent.mkdir(parents=True)
        major, minor = ffi.split(".")
        header.write_text(
            f"#define TVM_FFI_VERSION_MAJOR {major}\n#define TVM_FFI_VERSION_MINOR {minor}\n"
        )
        (root / "3rdparty/tvm-ffi/3rdparty/dlpack/include").mkdir(parents=True)
        (root / "src" / "support").mkdir()
        if without:
            (root / without).unlink()
        return root

    return make


def _paths(root):
    from edgekit.engines.tvm.sources import _libraries

    ffi = root / "3rdparty" / "tvm-ffi"
    libraries = _libraries(ffi=ffi, runtime=root, includes=(), support=root / "src" / "support")
    return [[file.relative_to(root) for file in each.files] for each in libraries]


def test_whole_tree_is_taken(make_tree):
    root = make_tree()
    ffi, runtime = in_tree(root)
    assert root / "src" / "runtime" / "vm" / "vm.cc" in runtime.files
    assert root / "include" in runtime.includes
    assert runtime.needs == (ffi.path,)
    # Nothing of edgekit's stands in for the tree's own headers.
    assert all(folder.is_relative_to(root) for folder in (*ffi.includes, *runtime.includes))


def test_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(ToolboxError, match=r"nowhere, which is no folder") as caught:
        in_tree(tmp_path / "nowhere")
    assert caught.value.hint == how_to_clone()


def test_folder_without_tvm_in_it_is_no_tree(tmp_path):
    with pytest.raises(ToolboxError, match="no source tree of TVM") as caught:
        in_tree(tmp_path)
    assert re.search(r"git clone --recursive --branch v\d+\.\d+\.\d+ ", caught.value.hint)


@pytest.mark.parametrize("version", ["0.25.dev0", "0.28.0", "0.2"])
def test_tree_of_another_version_is_refused_with_both_named(make_tree, version):
    with pytest.raises(ToolboxError, match="another version") as caught:
        in_tree(make_tree(version))
    assert f"TVM {version};" in caught.value.message
    assert f"TVM {wanted_version()}," in caught.value.message
    assert f"--branch v{wanted_version()} " in caught.value.hint


def test_tree_without_its_submodule_says_how_to_fetch_it(make_tree):
    root = make_tree(without="3rdparty/tvm-ffi/include/tvm/ffi/c_api.h")
    with pytest.raises(ToolboxError, match="3rdparty/tvm-ffi was not fetched") as caught:
        in_tree(root)
    assert caught.value.hint == f"git -C {root} submodule update --init --recursive"


def test_tree_with_another_interface_is_refused(make_tree):
    with pytest.raises(ToolboxError, match=r"tvm-ffi is 0\.2; .* the interface of 0\.1"):
        in_tree(make_tree(ffi="0.2"))


def test_tree_that_is_not_whole_names_what_is_missing(make_tree):
    with pytest.raises(ToolboxError, match=r"src/runtime/vm/vm\.cc is missing"):
        in_tree(make_tree(without="src/runtime/vm/vm.cc"))


def test_wheel_without_sources_asks_for_a_tree(tmp_path):
    with pytest.raises(ToolboxError, match="wheel holds no") as caught:
        in_wheels(tmp_path, builtin_folder("cross") / "headers" / "tvm")
    assert caught.value.hint.startswith("TVM_SOURCE=")


def test_stand_ins_are_looked_up_only_where_the_wheel_is_compiled(make_tree, tmp_path):
    stand_ins = builtin_folder("cross") / "headers" / "tvm"
    root = make_tree()
    site = tmp_path / "site"
    site.mkdir()
    (site / "tvm").symlink_to(root)
    (site / "tvm_ffi").symlink_to(root / "3rdparty" / "tvm-ffi")
    _, runtime = in_wheels(site, stand_ins)
    assert [path for path in runtime.includes if path.is_relative_to(stand_ins)]


SPEC = RuntimeSpec(PythonFacts("python3", "3.11.2"), builtin_folder("cross"), (), compiled=True)


def test_wrong_tree_is_refused_before_anything_is_built(monkeypatch, tmp_path):
    assert refuse_sources(SPEC) is None
    monkeypatch.setenv("TVM_SOURCE", str(tmp_path))
    refusal = refuse_sources(SPEC)
    assert str(tmp_path) in refusal.reason
    assert "git clone" in refusal.hint


def test_own_variable_wins_over_tvms(monkeypatch, tmp_path, make_tree):
    monkeypatch.setenv("TVM_SOURCE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("EDGEKIT_TVM_SOURCE", str(make_tree()))
    assert refuse_sources(SPEC) is None
    assert tvm_sources(tmp_path)[1].files[0].is_relative_to(tmp_path / "tvm")
