"""The steps in C, compiled with whatever compiler this machine has."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.onboard import native


@pytest.fixture(scope="session")
def steps_library(tmp_path_factory) -> str:
    """The library for this machine; the path that the tests' steps take it up from."""
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine; tests/toolbox/test_native.py has Zig's")
    sources = sorted(Path(native.__file__).parent.glob("*.c"))
    library = tmp_path_factory.mktemp("steps") / native.FILE_NAME
    command = [compiler, "-std=gnu99", "-O2", "-shared", "-fPIC", "-ffp-contract=off"]
    subprocess.run([*command, "-o", library, *sources], check=True)
    return str(library)


@pytest.fixture
def both(steps_library):
    """Make one step twice: NumPy's, and the library's."""

    def make(factory, values):
        native.put_down()
        reference = factory(values)
        assert native.take_up(steps_library) == ""
        fast = factory(values)
        native.put_down()
        return reference, fast

    yield make
    native.put_down()


@pytest.fixture(params=["numpy", "native"])
def means(request, steps_library):
    """Once without a library, once with it."""
    native.put_down()
    if request.param == "native":
        assert native.take_up(steps_library) == ""
    yield request.param
    native.put_down()


@pytest.fixture
def answers_of_both(steps_library):
    """Call once without the library and once with it; what is refused is answered by its words."""

    def answers(call):
        found = []
        for library in ("", steps_library):
            native.put_down()
            if library:
                assert native.take_up(library) == ""
            try:
                found.append(call())
            except ValueError as error:
                found.append(str(error))
            native.put_down()
        return found

    return answers
