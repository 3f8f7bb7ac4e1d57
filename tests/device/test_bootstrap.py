"""From a bare machine to an agent that answers."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import device_agent
from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    DeviceError,
    DiskFullError,
    NoPythonError,
    UnreachableError,
    UsageError,
)
from edgekit.device import LocalAddress, SshAddress, connect, parse_address
from edgekit.device.agent_pack import MAX_AGENT_BYTES, pack_agent, pack_bytes
from edgekit.device.bootstrap import bootstrap_command
from edgekit.device.client import AgentClient
from edgekit.device.local import LocalTransport


def agents(root: Path) -> list[Path]:
    return sorted((root / "agent").iterdir())


def test_pack_is_small_reproducible_and_named_by_its_content():
    import hashlib

    package = Path(device_agent.__file__).parent
    data = pack_bytes(package)
    assert data == pack_bytes(package)
    assert len(data) <= MAX_AGENT_BYTES
    pack = pack_agent()
    assert pack.content() == data
    assert pack.sha256 == hashlib.sha256(data).hexdigest()
    assert pack_agent().path == pack.path
    with zipfile.ZipFile(pack.path) as archive:
        assert archive.testzip() is None
        assert {"__main__.py", "device_agent/server.py"} <= set(archive.namelist())
        assert "device_agent/health/__init__.py" in archive.namelist()


def test_first_connection_brings_the_agent_and_the_second_finds_it(device_root):
    with connect(LocalAddress(root=device_root)):
        (agent,) = agents(device_root)
    assert agent.name == f"agent-{pack_agent().sha256}.pyz"
    before = agent.stat()
    with connect(LocalAddress(root=device_root)):
        assert agent.stat().st_mtime_ns == before.st_mtime_ns
        assert agents(device_root) == [agent]


@pytest.mark.parametrize("damage", [b"\0" * 5000, b"not a zip", b"import sys; sys.exit(3)"])
def test_agent_file_damaged_by_a_power_cut_is_replaced(device_root, damage):
    agent = device_root / "agent" / f"agent-{pack_agent().sha256}.pyz"
    agent.parent.mkdir(parents=True)
    agent.write_bytes(damage)
    with connect(LocalAddress(root=device_root)) as device:
        assert device.status().current is None
    assert agent.read_bytes() == pack_agent().content()


class Wrapped(LocalTransport):
    """Runs the command inside a shell script, as a login shell might."""

    def __init__(self, root, before):
        super().__init__(LocalAddress(root=root))
        self.before = before

    def open(self, command):
        return super().open(["sh", "-c", f'{self.before}; exec "$@"', "sh", *command])


BANNER = "printf 'Welcome!\\n\\000\\001edgekit\\nLast login: today\\n'; echo oops >&2"


def test_login_banner_before_the_greeting_is_skipped(device_root):
    for _time in ("uploading", "there already"):
        client = AgentClient.start(Wrapped(device_root, BANNER))
        assert client.request("hello")["facts"]["machine"] == os.uname().machine
        client.close()


@pytest.mark.parametrize("aside", ["", " >&2"])
def test_login_that_refuses_commands_is_told_with_its_last_words(device_root, aside):
    refusal = f"echo This account is not available{aside}; exit 1"
    with pytest.raises(AgentError, match=r"status 1 .*account is not available") as caught:
        AgentClient.start(Wrapped(device_root, refusal))
    assert caught.value.hint


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH with a shell's usual tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "mkdir", "head", "wc", "sync", "mv", "rm"):
        (folder / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("EDGEKIT_DEVICE_PYTHON", "")
    return folder


@pytest.fixture
def without_usual_pythons(monkeypatch):
    """Look for Pythons on PATH only: this machine has one in /usr/bin."""
    from edgekit.device import bootstrap

    on_path = " ".join(name for name in bootstrap._PYTHONS.split() if "/" not in name)
    monkeypatch.setattr(bootstrap, "_PYTHONS", on_path)


def test_device_without_python_says_what_to_install(device_root, bare_path, without_usual_pythons):
    with pytest.raises(NoPythonError) as caught:
        connect(LocalAddress(root=device_root))
    assert "apt-get install python3" in caught.value.hint


def test_python_with_a_versioned_name_alone_is_found(device_root, bare_path, without_usual_pythons):
    (bare_path / "python3.11").symlink_to(sys.executable)
    with connect(LocalAddress(root=device_root)) as device:
        assert device.status().current is None


def test_python_that_is_too_old_is_named(device_root, bare_path, without_usual_pythons):
    old = sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))
    if not old:
        pytest.skip("no Python 2.7 in pyenv")
    (bare_path / "python3").write_text(f'#!/bin/sh\nshift 3\nexec {old[0]} "$@"\n')
    (bare_path / "python3").chmod(0o755)
    with pytest.raises(NoPythonError, match=r"Python 2\.7"):
        connect(LocalAddress(root=device_root))


def test_newer_python_takes_over_from_one_that_is_too_old(
    device_root, bare_path, without_usual_pythons
):
    old = sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))
    if not old:
        pytest.skip("no Python 2.7 in pyenv")
    (bare_path / "python3").write_text(f'#!/bin/sh\nshift 3\nexec {old[0]} "$@"\n')
    (bare_path / "python3").chmod(0o755)
    (bare_path / "python3.11").symlink_to(sys.executable)
    with connect(LocalAddress(root=device_root)) as device:
        assert device.facts.pythons[0].version.startswith("3.11.")


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "a file").write_text("")
    with pytest.raises(DeviceError, match=r"cannot write to .*/a file/device") as caught:
        connect(LocalAddress(root=tmp_path / "a file" / "device"))
    assert "EDGEKIT_DEVICE_ROOT" in caught.value.hint


def test_disk_too_full_for_the_agent_is_told(tmp_path):
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    try:
        with pytest.raises(DiskFullError):
            connect(LocalAddress(root=place))
        assert list((place / "agent").iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_command_is_one_line_that_every_login_shell_passes_on():
    (_sh, _c, script) = bootstrap_command(pack_agent())
    assert not set(script) & set("\n'!")


def test_command_that_cannot_be_started_is_unreachable(device_root):
    with pytest.raises(UnreachableError):
        LocalTransport(LocalAddress(root=device_root)).open(["/no/such/command"])


def test_folder_may_have_a_space_and_come_from_the_environment(tmp_path, monkeypatch):
    root = tmp_path / "a place"
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(root))
    with connect(LocalAddress()) as device:
        assert device.status().bundles == ()
    assert {"agent", "store", "bundles"} <= {path.name for path in root.iterdir()}


def test_agent_that_sends_nonsense_is_an_agent_error(device_root):
    stray = "printf '\\000\\001edgekit\\001 agent 1\\nXXXXXXXXXX'; cat >/dev/null; exit 0"
    client = AgentClient.start(Wrapped(device_root, stray))
    with pytest.raises(AgentError, match="no kind of frame"):
        client.request("hello")
    client.close()


def test_agent_of_another_protocol_is_refused(device_root):
    with pytest.raises(AgentError, match="agent 99"):
        AgentClient.start(Wrapped(device_root, "printf '\\000\\001edgekit\\001 agent 99\\n'; exit"))


def test_stray_prints_on_the_device_do_not_break_frames(device, workshop):
    bundle = workshop.bundle()
    device.push(bundle.content)
    device.install(bundle)  # the runner of this bundle prints a stray line
    from edgekit.device import RunRequest

    frame = workshop.file(b"frame")
    device.push([frame])
    assert device.run(bundle.identity, RunRequest("infer", (frame.sha256,))).answers == ("frame",)


def test_verb_that_is_unknown_and_arguments_that_are_wrong_are_refused(device):
    for verb, args, code in (
        ("exec", {"code": "1"}, "unknown_verb"),
        ("__import__", {}, "unknown_verb"),
        ("put", {"sha256": "../../etc/passwd", "size_bytes": 0, "offset": 0}, "bad_request"),
        ("put", {"sha256": "0" * 64, "size_bytes": True, "offset": 0}, "bad_request"),
        ("get", {"job": "../store", "path": "x"}, "bad_request"),
        ("get", {"job": "none", "path": "../../x"}, "bad_request"),
        ("activate", {"bundle": "x"}, "bad_request"),
        ("install", {"manifest": "{"}, "bad_request"),
        ("install", {"manifest": '{"format": 2}'}, "bad_request"),
        ("missing", {"content": [["0" * 64]]}, "bad_request"),
    ):
        with pytest.raises(AgentError) as caught:
            device._client.request(verb, args)
        assert caught.value.code == code, verb
    assert device.status().current is None


def test_agent_that_ends_is_told_with_its_last_words(device):
    device._client._stream._process.terminate()
    with pytest.raises(ConnectionLostError):
        device.status()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local", LocalAddress()),
        ("board", SshAddress("board")),
        ("pi@192.168.1.20", SshAddress("192.168.1.20", user="pi")),
        ("pi@board.lan:2222", SshAddress("board.lan", user="pi", port=2222)),
        ("root@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", user="root", port=22)),
    ],
)
def test_address_is_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "a b", "-oProxyCommand=x", "a@b@c", "h:0", "h:99999", "@h"])
def test_address_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        parse_address(text)
