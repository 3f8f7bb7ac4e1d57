"""Asking for help costs no heavy import."""

import subprocess
import sys

import pytest

HEAVY = frozenset(
    ["cv2", "importlib_metadata", "numpy", "onnx", "onnxruntime", "paramiko", "pip", "rich", "uv"]
)

DUMP = """
import atexit, sys
atexit.register(lambda: print(*sorted(m for m in sys.modules if "." not in m), file=sys.stderr))
"""


def loaded_by(code: str) -> frozenset[str]:
    done = subprocess.run(
        [sys.executable, "-c", DUMP + code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return frozenset(done.stderr.splitlines()[-1].split())


def test_import_edgekit_loads_nothing_heavy():
    assert not loaded_by("import edgekit") & HEAVY


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["deploy", "--help"], ["doctor", "--help"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = f"sys.argv = ['edgekit', *{arguments!r}]\nfrom edgekit.__main__ import main\nmain()"
    loaded = loaded_by(code)
    assert "click" in loaded
    assert not loaded & HEAVY


def test_list_of_verbs_imports_none_of_them():
    code = """
sys.argv = ['edgekit', '--help']
from edgekit.__main__ import main
try:
    main()
finally:
    assert not [name for name in sys.modules if name.startswith("edgekit.cli.commands")]
"""
    assert not loaded_by(code) & {"dataclasses", "json"}


def test_verbs_load_nothing_heavy_before_they_run():
    code = """
from edgekit.cli.main import root
commands = [root.get_command(None, verb) for verb in root.list_commands(None)]
assert len(commands) > 20 and all(commands)
"""
    assert not loaded_by(code) & HEAVY
