"""Libraries of C++ for a board: what is taken from the cache, and what a compiler may do wrong."""

import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.contracts import LibrarySources
from edgekit.core.errors import ToolboxError
from edgekit.core.events import StepFinished, StepProgress
from edgekit.toolbox.compiled import Board, compiled_archive, cxx_compilers
from edgekit.toolbox.toolchains import Toolchain

BOARD = Board("armv7l", "2.27")

# Takes sources for objects and objects for libraries: all that is judged is who calls it how.
COMPILER = r"""
import re
import sys
from pathlib import Path
words = sys.argv[1:]
made = Path(words[words.index("-o") + 1])
sources = [Path(word) for word in words if word.endswith((".cc", ".o", ".so"))]
text = "".join(path.read_text() for path in sources if path.exists() and path != made)
included = r'#include "(.+)"\n'
text = re.sub(included, lambda line: Path(line[1]).read_text(), text)
if "#error" in text:
    sys.exit("a.cc:1: error: this cannot be")
made.write_text(text + " ".join(word for word in words if word.startswith("-D")) + GLIBC)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def make_compiler(tmp_path):
    def make(name="first-g++", glibc="GLIBC_2.4"):
        script = tmp_path / f"{name}.py"
        script.write_text(COMPILER.replace("GLIBC", repr(f" {glibc} ")))
        return Toolchain(name, (sys.executable, str(script)))

    return make


@pytest.fixture
def libraries(tmp_path):
    """Two libraries, the second of which needs the first."""
    include = tmp_path / "include"
    include.mkdir()
    (include / "a.h").write_text("int a;")
    for name in ("a", "b"):
        (tmp_path / f"{name}.cc").write_text(f"[{name}]")
    first = LibrarySources("x/liba.so", (tmp_path / "a.cc",), (include,), ("-DA=1",))
    return first, LibrarySources("y/libb.so", (tmp_path / "b.cc",), (include,), (), (first.path,))


def archive(libraries, *compilers):
    events = []
    file = compiled_archive(libraries, BOARD, compilers, what="it", emit=events.append)
    with zipfile.ZipFile(file.source) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist()}, events


def test_libraries_are_linked_in_order_and_told_of(libraries, make_compiler):
    files, events = archive(libraries, make_compiler())
    assert set(files) == {"x/liba.so", "y/libb.so"}
    assert "[a]" in files["x/liba.so"]
    assert "-DA=1" in files["x/liba.so"]
    assert "[b]" in files["y/libb.so"]
    assert "[a]" in files["y/libb.so"]  # it was linked to
    assert [event.done for event in events if isinstance(event, StepProgress)] == [1, 2]


def test_files_of_a_library_are_compiled_as_one_in_their_order(libraries, make_compiler, tmp_path):
    (tmp_path / "c.cc").write_text("[c]")
    first, second = libraries
    both = replace(first, files=(tmp_path / "c.cc", *first.files))
    files, events = archive((both, second), make_compiler())
    assert "[c][a]-D" in files["x/liba.so"]
    told = [event for event in events if isinstance(event, StepProgress)]
    assert {event.total for event in told} == {3}
    assert told[-1].done == 3


def test_equal_sources_are_compiled_once_and_a_changed_header_again(libraries, make_compiler):
    archive(libraries, make_compiler())
    *_, last = archive(libraries, make_compiler())[1]
    assert last == StepFinished("compile:armv7l", "cached")
    header = libraries[0].includes[0] / "a.h"
    header.write_text("int changed;")
    *_, last = archive(libraries, make_compiler())[1]
    assert last.detail != "cached"
    *_, last = archive(libraries, make_compiler("another-g++"))[1]
    assert last.detail != "cached"


def test_header_beside_the_sources_counts_too(libraries, make_compiler, tmp_path):
    beside = tmp_path / "beside"
    beside.mkdir()
    first, second = libraries
    watched = (first, replace(second, headers=(beside,)))
    archive(watched, make_compiler())
    (beside / "b.h").write_text("int b;")
    *_, last = archive(watched, make_compiler())[1]
    assert last.detail != "cached"


def test_compiler_whose_work_needs_a_newer_glibc_is_passed_over(libraries, make_compiler):
    files, _ = archive(libraries, make_compiler("new", "GLIBC_2.34"), make_compiler("old"))
    assert "GLIBC_2.34" not in files["y/libb.so"]


def test_no_compiler_for_so_old_a_glibc_says_what_it_would_need(libraries, make_compiler):
    with pytest.raises(ToolboxError, match=r"glibc 2\.27: what new makes needs glibc 2\.34"):
        archive(libraries, make_compiler("new", "GLIBC_2.34"))


def test_no_compiler_says_what_to_install(libraries):
    with pytest.raises(ToolboxError, match="no C\\+\\+ compiler for armv7l") as caught:
        archive(libraries)
    assert caught.value.hint == "sudo apt install g++-arm-linux-gnueabihf"


def test_error_in_a_source_shows_the_compilers_words_and_leaves_nothing(
    libraries, make_compiler, tmp_path
):
    (tmp_path / "b.cc").write_text("#error")
    with pytest.raises(ToolboxError, match=r"libb\.so, by first-g\+\+") as caught:
        archive(libraries, make_compiler())
    assert "this cannot be" in caught.value.message
    log = Path(caught.value.hint.removeprefix("log: "))
    assert "this cannot be" in log.read_text(encoding="utf-8")
    (tmp_path / "b.cc").write_text("[mended]")
    files, _ = archive(libraries, make_compiler())
    assert "[mended]" in files["y/libb.so"]


def test_source_that_is_gone_is_an_error(libraries, make_compiler):
    first, second = libraries
    gone = replace(second, files=(Path("/nowhere.cc"),))
    with pytest.raises(OSError, match="nowhere"):
        archive((first, gone), make_compiler())


def test_debians_compiler_comes_before_zigs(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "arm-linux-gnueabihf-g++-12"
    program.parent.mkdir()
    program.touch(0o755)
    (program.parent / "arm-linux-gnueabihf-g++").symlink_to(program)
    (tmp_path / "lib" / "python3.11" / "site-packages" / "ziglang-0.17.1.dist-info").mkdir(
        parents=True
    )
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    found = cxx_compilers(BOARD, program.parent / "python")
    assert [each.name for each in found] == [program.name, "ziglang-0.17.1"]
    assert "arm-linux-gnueabihf.2.27" in found[1].command
    # A board gets neither's C++ library.
    assert "-static-libstdc++" in found[0].command
    [static] = cxx_compilers(replace(BOARD, glibc=""), program.parent / "python")
    assert "arm-linux-musleabihf" in static.command
