"""What every way of flashing must be."""

import re
from pathlib import Path

import pytest
from transcript_player import remarks_of

from edgekit.catalog.targets import load_target, target_names
from edgekit.core.errors import UnknownNameError
from edgekit.core.names import FLASH_METHOD_NAMES
from edgekit.flash.methods import load_method, method_names

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").rglob("*.txt"))
DOCS = Path(__file__).parents[2] / "docs/flash-methods.md"


@pytest.mark.parametrize("name", method_names())
def test_method_keeps_its_contract(name, tmp_path):
    method = load_method(name)
    assert method.name == name
    assert method.name in FLASH_METHOD_NAMES
    assert method.at_once is None or method.at_once >= 1
    keys = [option.key for option in method.options]
    assert len(keys) == len(set(keys))
    for option in method.options:
        assert re.fullmatch(r"[a-z]+", option.key)
        assert option.about
        assert option.kind in {"file", "folder", "text"}
    for tool in method.tools:
        assert re.search(r"\b(apt-get|make|git)\b", tool.install)
    # Nothing is plugged in where there is no sysfs, whatever the kind of board.
    for target in target_names():
        assert method.units(load_target(target), tmp_path) == ()


@pytest.mark.parametrize("name", method_names())
def test_method_and_its_options_are_documented(name):
    text = DOCS.read_text(encoding="utf-8")
    assert f"## `{name}`" in text
    section = text.split(f"## `{name}`")[1].split("\n## ")[0]
    for option in load_method(name).options:
        assert f"`{option.key}`" in section


def test_unknown_method_is_told_what_was_meant():
    with pytest.raises(UnknownNameError) as caught:
        load_method("rockub")
    assert "rockusb" in caught.value.hint


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_transcript_says_where_it_is_from(file):
    said = " ".join(remarks_of(file.read_text(encoding="utf-8")))
    assert re.search(r"github\.com|\.cpp|forums|wiki\.|made up|Made up|recorded|Setup Pain", said)
