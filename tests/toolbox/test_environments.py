"""Toolboxes: made once, whole or not at all, and clear about what is missing."""

import platform
import re
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from edgekit.core.errors import ToolboxError
from edgekit.core.events import StepFinished, StepStarted, ignore
from edgekit.engines import load_engine
from edgekit.toolbox.environments import environment

WRONG_HASH = "iniconfig==2.1.0 --hash=sha256:" + "0" * 64 + "\n"


@pytest.mark.toolbox
def test_environment_is_made_once_and_runs(toolbox):
    events = []
    made = environment(toolbox(), emit=events.append)
    assert [type(event) for event in events] == [StepStarted, StepFinished]
    done = subprocess.run(
        [made.python, "-I", "-c", "import sys; print(sys.prefix != sys.base_prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"
    events.clear()
    assert environment(toolbox(), emit=events.append) == made
    assert events == []


@pytest.mark.toolbox
def test_environment_another_lock_is_another_environment(toolbox):
    first = environment(toolbox(), emit=ignore)
    second = environment(toolbox("# nothing else\n"), emit=ignore)
    assert first.python != second.python


@pytest.mark.toolbox
def test_environment_whose_interpreter_left_is_made_again(toolbox):
    made = environment(toolbox(), emit=ignore)
    made.python.unlink()
    assert environment(toolbox(), emit=ignore).python.exists()


@pytest.mark.toolbox
def test_environment_wanted_twice_at_once_is_made_once(toolbox):
    events, made = [], []
    spec = toolbox()
    threads = [
        threading.Thread(target=lambda: made.append(environment(spec, emit=events.append)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert made[0].python.exists()


@pytest.mark.toolbox
def test_environment_without_such_a_python_says_so(toolbox, cache):
    with pytest.raises(ToolboxError) as caught:
        environment(toolbox(python="3.99"), emit=ignore)
    assert "3.99" in caught.value.hint
    assert str(cache / "logs") in caught.value.message


@pytest.mark.toolbox
def test_environment_without_network_says_so_and_leaves_nothing(toolbox, cache, monkeypatch):
    # Nothing listens on port 9 of loopback: the index is unreachable, at once.
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(ToolboxError) as caught:
        environment(toolbox(WRONG_HASH), emit=ignore)
    assert "reachable" in caught.value.hint
    assert "iniconfig" in caught.value.message
    folders = [item for item in (cache / "toolboxes").iterdir() if not item.name.startswith(".")]
    assert folders == []


@pytest.mark.network
@pytest.mark.toolbox
def test_environment_refuses_a_package_of_another_hash(toolbox):
    with pytest.raises(ToolboxError) as caught:
        environment(toolbox(WRONG_HASH), emit=ignore)
    assert "hash" in caught.value.message.lower()


@pytest.mark.network
@pytest.mark.toolbox
def test_environment_takes_what_declares_a_newer_python_only_if_told(toolbox):
    if sys.version_info >= (3, 12):
        pytest.skip("onnx2tf declares Python 3.12, which is no newer than the one running")
    lock = load_engine("tflite").toolbox.requirements.read_text(encoding="utf-8")
    entry = next(e for e in re.split(r"\n(?=\S)", lock) if e.startswith("onnx2tf=="))
    spec = toolbox(entry.rstrip(" \\\n") + "\n", python=platform.python_version())
    with pytest.raises(ToolboxError) as caught:
        environment(spec, emit=ignore)
    assert "3.12" in caught.value.message
    made = environment(replace(spec, declared_python=False), emit=ignore)
    found = "import importlib.metadata as m; print(m.version('onnx2tf'))"
    done = subprocess.run([made.python, "-I", "-c", found], capture_output=True, check=True)
    assert entry.startswith(f"onnx2tf=={done.stdout.decode().strip()} ")
