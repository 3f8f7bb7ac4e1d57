from edgekit.catalog.toml_lines import line_of, locate_keys

TEXT = '''# first
title = "a"
size = [
  1, # ]
  2,
]
text = """
[not.a.table]
key = 1
"""
quoted."a.b" = 'it''s'

[source]
kind = "url" # kind = 2

[[clusters]]
core = "x"

[[clusters]]
core = "y"

[clusters.extra]
note = "z"
'''


def test_locate_keys_finds_every_key_and_table():
    assert locate_keys(TEXT.replace("'it''s'", "'its'")) == {
        ("title",): 2,
        ("size",): 3,
        ("text",): 7,
        ("quoted", "a.b"): 11,
        ("source",): 13,
        ("source", "kind"): 14,
        ("clusters",): 16,
        ("clusters", 0): 16,
        ("clusters", 0, "core"): 17,
        ("clusters", 1): 19,
        ("clusters", 1, "core"): 20,
        ("clusters", 1, "extra"): 22,
        ("clusters", 1, "extra", "note"): 23,
    }


def test_line_of_unlisted_key_is_its_holders():
    lines = {("a",): 3, ("a", "b"): 5}
    assert line_of(lines, ("a", "b", "c")) == 5
    assert line_of(lines, ("a", "x")) == 3
    assert line_of(lines, ("z",)) == 1


def test_locate_keys_counts_lines_after_multiline_strings():
    text = 'a = \'\'\'\n\n\'\'\'\nb = """x\\"""""\nc = 1\n'
    assert locate_keys(text) == {("a",): 1, ("b",): 4, ("c",): 5}
