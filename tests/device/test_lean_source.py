"""What is left out of the packed agent changes nothing of what it does."""

import ast
from pathlib import Path

import pytest

import device_agent
from edgekit.device.lean_source import lean

SOURCES = sorted(Path(device_agent.__file__).parent.rglob("*.py"))


class Emptied(ast.NodeTransformer):
    """Take the words out of texts that stand alone."""

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
        return node


def statements(source):
    return [
        (type(node).__name__, node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_lean_source_is_the_same_code_on_the_same_lines(path):
    source = path.read_text(encoding="utf-8")
    made = lean(source)
    assert ast.dump(ast.parse(made)) == ast.dump(Emptied().visit(ast.parse(source)))
    assert statements(made) == statements(source)


def test_comments_and_docstrings_are_gone_and_texts_stay():
    source = (
        '"""A module\nof — two lines."""\n'
        "x = '# no comment'  # a comment\n"
        '"""Of x."""; y = 1\n'
        "def f():\n"
        '    """One\n    two."""  # why\n'
        "    return '''a\n# b\n'''\n"
    )
    assert lean(source) == (
        "\"\"\n\nx = '# no comment'\n\"\"; y = 1\ndef f():\n    \"\"\n\n    return '''a\n# b\n'''\n"
    )
    assert lean("") == ""
