"""Sources without what no machine reads: comments and docstrings are a quarter of the agent."""

import ast
import io
import tokenize


def lean(source: str) -> str:
    """Return a module's source without comments and docstrings.

    Every statement stays on its line, so that a traceback from a device names the lines of the
    sources.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and _is_text(node.value):
            _empty(lines, node)
    for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    return "".join(lines)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _empty(lines: list[str], node: ast.Expr) -> None:
    """Leave an empty text where one stood, and as many lines; columns are counted in bytes."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset or 0 :].decode()
    lines[first : last + 1] = [f'{before}""' + "\n" * (last > first)] + ["\n"] * (last - first)
    lines[last] = lines[last].rstrip("\n") + after
