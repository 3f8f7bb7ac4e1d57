"""What runs on a board runs on Python 3.6, which the Jetson Nano's image still ships."""

import ast

FLOOR = (3, 6)


def board_sources(root):
    folders = [root / "device_agent", root / "edgekit" / "onboard"]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return files + sorted((root / "edgekit" / "engines").glob("*/runner*.py"))


def test_board_sources_are_found(root):
    assert board_sources(root), "the tests below would pass by looking at nothing"


def test_vermin_finds_nothing_newer_than_the_floor(root, run_tool):
    files = [str(file.relative_to(root)) for file in board_sources(root)]
    done = run_tool(
        "vermin", "--target=3.6-", "--violations", "--no-tips", "--eval-annotations", *files
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_board_sources_parse_with_the_grammar_of_the_floor(root):
    for file in board_sources(root):
        ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=FLOOR)


def test_engine_packages_are_empty_where_the_board_sees_them(root):
    # runner.pyz holds the runner*.py of one engine with empty packages above them: a runner that
    # needed anything of its host-side siblings would fail on the board alone.
    for runner in sorted((root / "edgekit" / "engines").glob("*/runner*.py")):
        own = f"edgekit.engines.{runner.parent.name}"
        for node in ast.walk(ast.parse(runner.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{runner}:{node.lineno}: relative import"
                names = [node.module or ""]
                if node.module == own:
                    names = [f"{own}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            foreign = [
                name
                for name in names
                if name.startswith("edgekit")
                and not name.startswith(("edgekit.onboard", f"{own}.runner"))
            ]
            assert not foreign, f"{runner}:{node.lineno}: imports {foreign}"
