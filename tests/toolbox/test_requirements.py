"""Locks read for another Python."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import ToolboxError
from edgekit.toolbox.requirements import python_tuple, select

DIGEST = "a" * 64
LOCK = f"""# comment
pkg==1.0 ; python_version < '3.8' \\
    --hash=sha256:{DIGEST}
pkg==2.0 ; python_version >= '3.8' and python_version < '3.10' \\
    --hash=sha256:{DIGEST} \\
    --hash=sha256:{"b" * 64}
pkg==3.0 ; python_version >= '3.10' \\
    --hash=sha256:{DIGEST}
other==1.5 \\
    --hash=sha256:{DIGEST}
"""


@pytest.fixture(scope="module")
def lock(tmp_path_factory):
    path = tmp_path_factory.mktemp("lock") / "board.txt"
    path.write_text(LOCK)
    return path


@pytest.mark.parametrize(
    ("python", "version"),
    [("3.6.9", "1.0"), ("3.8.1", "2.0"), ("3.9", "2.0"), ("3.10.0", "3.0"), ("3.13.5", "3.0")],
)
def test_select_takes_the_entry_of_the_python(lock, python, version):
    pkg, other = select(lock, ("pkg", "other"), python)
    assert (pkg.version, other.version) == (version, "1.5")
    assert f"sha256:{DIGEST}" in pkg.hashes


def test_select_keeps_every_hash(lock):
    (pin,) = select(lock, ("pkg",), "3.9.2")
    assert len(pin.hashes) == 2
    assert pin.line.startswith("pkg==2.0 --hash=sha256:a")


def test_select_missing_package_is_named(lock):
    with pytest.raises(ToolboxError, match=r"absent is locked for Python 3\.9"):
        select(lock, ("absent",), "3.9")


@pytest.mark.parametrize(
    "line", ["pkg>=1.0", "pkg==1.0", "pkg==1 ; sys_platform == 'x' --hash=sha256:" + DIGEST]
)
def test_select_refuses_what_it_does_not_understand(tmp_path, line):
    path = tmp_path / "board.txt"
    path.write_text(line + "\n")
    with pytest.raises(ToolboxError, match=r"board\.txt"):
        select(path, ("pkg",), "3.9")


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["", ".1", ".0rc1", "+"]))
def test_python_tuple_reads_major_and_minor(major, minor, rest):
    assert python_tuple(f"{major}.{minor}{rest}") == (major, minor)


def test_python_tuple_refuses_no_version():
    with pytest.raises(ToolboxError):
        python_tuple("three")
