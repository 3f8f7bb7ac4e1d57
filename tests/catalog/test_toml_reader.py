import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.catalog.devices import toml_literal
from edgekit.catalog.toml_reader import (
    KeyFaultError,
    read_named_tables,
    read_present,
    read_toml,
)
from edgekit.core.errors import CatalogError


@dataclass(frozen=True)
class Core:
    name: str
    count: int = 1

    def __post_init__(self):
        if self.count < 1:
            raise KeyFaultError("count", "count must be positive")


@dataclass(frozen=True)
class Board:
    title: str
    kind: Literal["big", "little"]
    weight: float
    size: tuple[int, int]
    fanless: bool = False
    tags: tuple[str, ...] = ()
    folder: Path | None = None
    cores: tuple[Core, ...] = ()
    free: Mapping[str, object] = field(default_factory=dict)
    named: Mapping[str, Core] = field(default_factory=dict)
    renamed: int = field(default=0, metadata={"key": "other-name"})


GOOD = """title = "a board"
kind = "big"
weight = 3
size = [4, 5]
fanless = true
tags = ["x"]
folder = "some/where"
free = { any = [1, "two"] }
other-name = 7

[[cores]]
name = "a53"
count = 4

[named.first]
name = "a72"
"""


def write(folder, text):
    file = folder / "board.toml"
    file.write_text(text)
    return file


def fault_of(folder, text):
    file = write(folder, text)
    with pytest.raises(CatalogError) as caught:
        read_toml(file, Board)
    return caught.value.message.replace(f"{file}:", "").replace(str(file), "FILE")


def test_read_toml_gives_the_dataclass(tmp_path):
    board = read_toml(write(tmp_path, GOOD), Board)
    assert board == Board(
        title="a board",
        kind="big",
        weight=3.0,
        size=(4, 5),
        fanless=True,
        tags=("x",),
        folder=Path("some/where"),
        cores=(Core("a53", 4),),
        free={"any": [1, "two"]},
        named={"first": Core("a72")},
        renamed=7,
    )
    assert type(board.weight) is float


def test_read_toml_tells_all_faults_with_lines_at_once(tmp_path):
    text = """titel = "a board"
kind = "bigg"
weight = true
size = [4, 5, 6]
fanless = 1
tags = ["x", 2]

[[cores]]
count = "four"
"""
    assert fault_of(tmp_path, text).splitlines() == [
        "FILE has 9 faults:",
        "  1: key 'title' is missing",
        "  1: unknown key 'titel'; did you mean 'title'?",
        "  2: kind is 'bigg', must be one of 'big', 'little'; did you mean 'big'?",
        "  3: weight must be a number, is true or false",
        "  4: size must have 2 elements, has 3",
        "  5: fanless must be true or false, is an integer",
        "  6: tags[1] must be a string, is an integer",
        "  8: key 'name' is missing in [cores[0]]",
        "  9: cores[0].count must be an integer, is a string",
    ]


def test_read_toml_tells_key_faults_of_post_init(tmp_path):
    text = GOOD.replace("count = 4", "count = 0")
    assert fault_of(tmp_path, text) == "13: count must be positive"


def test_read_toml_refuses_given_fields_in_the_file(tmp_path):
    file = write(tmp_path, GOOD)
    with pytest.raises(CatalogError, match=":1: unknown key 'title'"):
        read_toml(file, Board, given={"title": "from outside"})


def test_read_toml_check_is_told_with_its_line(tmp_path):
    file = write(tmp_path, GOOD)

    def check(board):
        yield ("cores", 0, "count"), f"{board.cores[0].count} is too many"

    with pytest.raises(CatalogError) as caught:
        read_toml(file, Board, check=check)
    assert caught.value.message == f"{file}:13: 4 is too many"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = \n", r":1:5: not TOML: Invalid value$"),
        ("x = 1\nx = 2\n", r":2:6: not TOML: Cannot overwrite a value$"),
        ("[a\n", r":1:3: not TOML: "),
        ("a = 'x", r":1:?\d*: not TOML: "),
    ],
)
def test_read_toml_syntax_error_names_the_line(tmp_path, text, fault):
    with pytest.raises(CatalogError, match=fault):
        read_toml(write(tmp_path, text), Board)


def test_read_toml_unreadable_files_are_catalog_errors(tmp_path):
    with pytest.raises(CatalogError, match=r"cannot read .*No such file"):
        read_toml(tmp_path / "absent.toml", Board)
    file = tmp_path / "latin.toml"
    file.write_bytes(b'title = "\xe9"\n')
    with pytest.raises(CatalogError, match="is not UTF-8 text: byte 9"):
        read_toml(file, Board)


def test_read_present_asks_for_nothing_but_checks_what_is_there(tmp_path):
    assert read_present(write(tmp_path, "weight = 2\n"), Board) == {"weight": 2.0}
    with pytest.raises(CatalogError, match=r":1: unknown key 'wieght'; did you mean 'weight'"):
        read_present(write(tmp_path, "wieght = 2\n"), Board)


def test_read_named_tables_takes_names_from_headers(tmp_path):
    file = write(tmp_path, "[one]\ncount = 2\n\n['t.wo']\n")
    assert read_named_tables(file, Core) == {"one": Core("one", 2), "t.wo": Core("t.wo")}
    file = write(tmp_path, "loose = 1\n[one]\ncoun = 2\n")
    with pytest.raises(CatalogError) as caught:
        read_named_tables(file, Core)
    assert re.findall(r":(\d+): ", caught.value.message) == ["1", "3"]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda text: text not in {f.name for f in Board.__dataclass_fields__.values()})


@given(text=st.text(max_size=40))
def test_toml_literal_is_read_back(text):
    import tomllib

    text = text.encode("utf-8", "replace").decode()
    assert tomllib.loads(f"x = {toml_literal(text)}\n") == {"x": text}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    unknown=st.lists(NAMES.filter(lambda n: n != "other-name"), unique=True, max_size=4),
    drop=st.sets(st.sampled_from(["title", "kind", "weight", "size"])),
    mistype=st.sets(st.sampled_from(["fanless", "tags", "folder", "other-name"])),
    blank=st.integers(0, 3),
)
def test_read_toml_misses_no_fault_and_invents_none(tmp_path, unknown, drop, mistype, blank):
    """Every planted fault is told, on its own line; nothing else is."""
    good = {
        "title": '"t"',
        "kind": '"big"',
        "weight": "1.5",
        "size": "[1, 2]",
        "fanless": "false",
        "tags": '["a"]',
        "folder": '"f"',
        "other-name": "1",
    }
    lines: list[str] = [""] * blank
    expected: list[tuple[int, str]] = [(1, f"key {key!r} is missing") for key in drop]
    for key, value in good.items():
        if key in drop:
            continue
        lines.append(f"{key} = {'1979-05-27' if key in mistype else value}")
        if key in mistype:
            expected.append((len(lines), f"{key} must be "))
    for name in unknown:
        lines += ["# a note", f"{toml_literal(name)} = '''\n'''"]
        line = "\n".join(lines).count("\n")
        expected.append((line, f"unknown key {name!r}"))
    file = tmp_path / "planted.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    if not expected:
        assert read_toml(file, Board).title == "t"
        return
    with pytest.raises(CatalogError) as caught:
        read_toml(file, Board)
    message = caught.value.message
    assert message.count(f"{file}:") == len(expected)
    for line, start in expected:
        assert f"{file}:{line}: {start}" in message
