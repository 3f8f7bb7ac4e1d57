"""Class names in metadata."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.prepare.class_names import class_names, parse_names

names = st.lists(st.text(), max_size=12)


@given(names)
def test_mapping_written_as_python_is_read_in_order_of_its_keys(expected):
    mapping = dict(reversed(list(enumerate(expected))))
    assert parse_names(repr(mapping)) == tuple(expected)


@given(names)
def test_json_is_read(expected):
    assert parse_names(json.dumps(expected)) == tuple(expected)
    assert parse_names(json.dumps(dict(enumerate(expected)))) == tuple(expected)


@given(st.text())
def test_anything_else_has_no_names(text):
    assert isinstance(parse_names(text), tuple)


@pytest.mark.parametrize("text", ["", "3", "{'a': 'b'}", "__import__('os')", "[" * 100_000])
def test_text_that_is_no_list_has_no_names(text):
    assert parse_names(text) == ()


def test_characters_of_a_recogniser_stand_one_a_line():
    assert class_names({"character": "a\nb\n \n", "names": "['x']"}) == ("a", "b", " ")
