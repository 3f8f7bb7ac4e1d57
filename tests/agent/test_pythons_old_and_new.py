"""The packed agent under each Python it promises to run on: a whole deployment, no less."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from clock_tree import ClockTree
from sampler_loops import compiled_sampler

from device_agent.protocol import READY, FrameReader, data_frame, json_frame, message_of
from edgekit.device.agent_pack import pack_bytes

AGENT = Path(__file__).parents[2] / "device_agent"
VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
RUNNER = b"""
import json, sys
import there
job = json.load(open(sys.argv[1]))
print(json.dumps({"event": "progress", "phase": "model", "done": 1, "total": 1}))
json.dump({"word": there.WORD, "python": sys.version.split()[0]}, open("result.json", "w"))
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(pack_bytes(AGENT))
    return path


def find_python(version: str) -> str | None:
    """Find an interpreter that is a program, not a version manager's shim."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
    if found:
        return str(found[-1])
    on_path = shutil.which(f"python{version}")
    is_program = on_path is not None and Path(on_path).read_bytes()[:4] == b"\x7fELF"
    return on_path if is_program else None


class Conversation:
    def __init__(self, command, errors, tree):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "EDGEKIT_DEVICE_SYS": str(tree.sys)},
        )
        self.reader = FrameReader(self.process.stdout.read1)
        self.count = 0
        assert self.reader.greeting() == READY

    def ask(self, verb, args=None, content=b""):
        self.count += 1
        self.process.stdin.write(json_frame({"id": self.count, "verb": verb, "args": args or {}}))
        for start in range(0, len(content), 1000):
            self.process.stdin.write(data_frame(content[start : start + 1000]))
        self.process.stdin.flush()
        data = b""
        while True:
            kind, payload = self.reader.frame()
            if kind == ord("D"):
                data += payload
                continue
            message = message_of(payload)
            if "event" not in message:
                assert "ok" in message, message
                return data or message["ok"]

    def put(self, content):
        sha256 = hashlib.sha256(content).hexdigest()
        self.ask("put", {"sha256": sha256, "size_bytes": len(content), "offset": 0}, content)
        return sha256


def archive(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return packed.getvalue()


def bytecode_in(root):
    """Name the device's folders that hold any."""
    return {path.relative_to(root).parts[0] for path in root.rglob("*.pyc")}


def add_monitor(sys_root):
    """Let the device have an INA226 that reads 2.5 W."""
    chip = Path(sys_root, "class/hwmon/hwmon9")
    (chip / "device").mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")


def manifest_of(talk, machine, python, sampler):
    """Send what a bundle is made of; return its manifest."""
    content = {
        "runner.pyz": archive({"__main__.py": RUNNER}),
        "libsampler.so": Path(sampler).read_bytes(),
        "there.whl": archive({"there.py": b"WORD = 'there'"}),
    }
    *files, wheel = (
        {"path": path, "sha256": talk.put(data), "size_bytes": len(data)}
        for path, data in content.items()
    )
    return {
        "format": 1,
        "name": "tiny",
        "engine": "ncnn",
        "precision": "fp32",
        "target": "local",
        "architecture": machine,
        "compatible": [],
        "knobs": {},
        "job": {},
        "files": files,
        "runtime": {"id": "tiny", "python": python, "wheels": [wheel]},
    }


def check_power(power):
    """The bundle's own loop read that monitor."""
    assert power["refused"] == []
    assert power["loop"] == "c"
    assert set(power["series"][0]["values"]) == {2500000}


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_deploys_under_python(version, agent, tmp_path):

    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on PATH or in pyenv")
    tree = ClockTree(tmp_path / "tree")
    add_monitor(tree.sys)
    before = tree.settings()
    with (tmp_path / "errors").open("wb") as errors:
        command = [python, "-I", "-S", "-B", str(agent), str(tmp_path / "d")]
        talk = Conversation(command, errors, tree)
    facts = talk.ask("hello")["facts"]
    assert facts["pythons"][0]["version"].startswith(version + ".")
    assert facts["machine"] == os.uname().machine
    manifest = manifest_of(talk, facts["machine"], python, compiled_sampler(tmp_path)[0])
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    bundle = talk.ask("install", {"manifest": text})["bundle"]
    assert talk.ask("activate", {"bundle": bundle})["generation"] == 1
    request = {"bundle": bundle, "kind": "infer", "frames": [], "plan": {}, "timeout_s": 60}
    request["watch"] = {"period_s": 0.2, "power_hz": 10, "idle_s": 0.1}
    pinned = talk.ask("pin_clocks", {"lease_s": 60, "khz": {"4": 1008000}})
    assert [domain["pinned"] for domain in pinned["domains"]] == [True, True, True]
    assert tree.settings() != before
    ended = talk.ask("run", request)
    assert ended["exit_status"] == 0, ended
    assert talk.ask("release_clocks")["ended"] == "released"
    assert tree.settings() == before
    health = json.loads(talk.ask("get", {"job": ended["job"], "path": "health.json"}))
    assert len(health["snapshots"]) >= 2
    check_power(json.loads(talk.ask("get", {"job": ended["job"], "path": "power.json"})))
    result = json.loads(talk.ask("get", {"job": ended["job"], "path": "result.json"}))
    assert result["word"] == "there"
    assert result["python"].startswith(version + ".")
    # Only where it can be told where to: never into the runtime.
    assert bytecode_in(tmp_path / "d") == (set() if version in {"3.6", "3.7"} else {"bytecode"})
    assert talk.ask("status")["current"]["bundle"] == bundle
    assert talk.ask("gc", {"grace_s": 0})["freed_bytes"] >= 0
    talk.ask("bye")
    assert talk.process.wait(10) == 0
    talk.process.stdin.close()
    talk.process.stdout.close()
    assert (tmp_path / "errors").read_bytes() == b""


def test_python_2_is_told_that_it_is_too_old(agent):
    found = sorted((Path.home() / ".pyenv/versions").glob("2.7.*/bin/python2.7"))
    if not found:
        pytest.skip("no Python 2.7 in pyenv")
    ended = subprocess.run(
        [str(found[0]), str(agent)], capture_output=True, check=False, env={"PATH": "/nowhere"}
    )
    assert ended.returncode == 97
    assert b"fail old-python 2.7" in ended.stdout


def test_agent_needs_no_newer_python_than_3_6():
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import vermin; vermin.main()",
            "-t=3.6-",
            "--no-tips",
            "--violations",
            str(AGENT),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_agent_imports_the_standard_library_alone():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import importlib, pathlib\n"
        "for path in pathlib.Path(sys.argv[1], 'device_agent').glob('[!_]*.py'):\n"
        "    importlib.import_module('device_agent.' + path.stem)\n"
        "own = {n for n in sys.modules if n.partition('.')[0] == 'device_agent'}\n"
        "foreign = [m.__file__ for n, m in sys.modules.items() if n not in own"
        " and 'site-packages' in (getattr(m, '__file__', None) or '')]\n"
        "print(foreign)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(AGENT.parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "[]"
