"""The agent ended at every single operation on the disk: old or new, never neither.

The verbs run in a forked child that dies at operation n, for every n until one survives; the
parent then looks at what is left, and asks for the same again.
"""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from device_agent import channel, durable
from device_agent.layout import Layout
from device_agent.probe import Roots
from device_agent.protocol import FrameReader, data_frame, json_frame, message_of
from device_agent.server import serve

DIED = 77
MACHINE = os.uname().machine


class RefusedError(Exception):
    """The agent's answer was an error."""


def wheel_of(members) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


WHEEL = wheel_of({"a/__init__.py": b"", "a/b.py": b"B = 1"})


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_of(model: bytes, wheel: bytes = WHEEL) -> str:
    def entry(path, data):
        return {"path": path, "sha256": sha(data), "size_bytes": len(data)}

    return json.dumps({
        "format": 1, "name": "tiny", "engine": "ncnn", "precision": "fp32", "target": "local",
        "architecture": MACHINE, "compatible": [], "knobs": {}, "job": {},
        "files": [entry("model/net.bin", model), entry("net.param", model)],
        "runtime": {"id": "rt", "python": "3", "wheels": [entry("a.whl", wheel)]},
    })  # fmt: skip


def ask(layout, *requests):
    """Serve requests, each (verb, args, content), in this process; return the answers."""
    to_agent, from_agent = os.pipe(), os.pipe()
    stream = b""
    for index, (verb, args, content) in enumerate(requests):
        stream += json_frame({"id": index, "verb": verb, "args": args})
        stream += data_frame(content) if content else b""
    os.write(to_agent[1], stream)
    os.close(to_agent[1])
    serve(layout, channel.Channel(to_agent[0], from_agent[1]), Roots())
    for end in (to_agent[0], from_agent[1]):
        os.close(end)
    with os.fdopen(from_agent[0], "rb") as answers:
        reader = FrameReader(answers.read)
        reader.greeting()
        got = []
        while (frame := reader.frame()) is not None:
            message = message_of(frame[1])
            if "error" in message:
                raise RefusedError(message["error"])
            if "ok" in message:
                got.append(message["ok"])
    return got


def put(data: bytes):
    return ("put", {"sha256": sha(data), "size_bytes": len(data), "offset": 0}, data)


def install(model: bytes):
    return ("install", {"manifest": manifest_of(model)}, b"")


def activate(model: bytes):
    return ("activate", {"bundle": sha(manifest_of(model).encode())}, b"")


def dies_at(step: int, layout, *requests) -> bool:
    """Do the requests in a child that dies just before operation ``step``."""
    child = os.fork()
    if child == 0:
        left = step

        def checkpoint(_operation, _path):
            nonlocal left
            if left == 0:
                os._exit(DIED)
            left -= 1

        durable.checkpoint = checkpoint
        try:
            ask(layout, *requests)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, DIED}, f"step {step}: the child ended with {status}"
    return status == DIED


def current(layout):
    status = ask(layout, ("status", {}, b""))[0]
    return status["current"] and status["current"]["bundle"]


def every_step(make_layout, *requests):
    """Yield a layout on which the requests died at each step in turn; at least a few."""
    step = 0
    while True:
        layout = make_layout(step)
        if not dies_at(step, layout, *requests):
            break
        yield layout
        step += 1
    assert step >= 3


@pytest.fixture
def make_layout(tmp_path):
    """Make a device with OLD active and everything for NEW in its store."""

    def make(step, *before):
        layout = Layout(str(tmp_path / f"step{step}"))
        ask(layout, put(WHEEL), put(b"old"), install(b"old"), activate(b"old"), put(b"new"),
            *before)  # fmt: skip
        return layout

    return make


OLD, NEW = (sha(manifest_of(model).encode()) for model in (b"old", b"new"))


def test_activate_cut_at_any_step_leaves_old_or_new_and_then_completes(make_layout):
    seen = set()
    for layout in every_step(lambda n: make_layout(n, install(b"new")), activate(b"new")):
        found = current(layout)
        seen.add(found)
        assert found in {OLD, NEW}
        ask(layout, activate(b"new"))
        assert current(layout) == NEW
        ask(layout, ("rollback", {}, b""))
        assert current(layout) == OLD
    assert seen == {OLD, NEW}


def test_first_activation_cut_at_any_step_leaves_none_or_new(tmp_path):
    def make(step):
        layout = Layout(str(tmp_path / f"first{step}"))
        ask(layout, put(WHEEL), put(b"new"), install(b"new"))
        return layout

    for layout in every_step(make, activate(b"new")):
        assert current(layout) in {None, NEW}
        assert ask(layout, activate(b"new"))[0]["current"] == NEW


def test_rollback_cut_at_any_step_leaves_old_or_new(make_layout):
    both = (install(b"new"), activate(b"new"))
    for layout in every_step(lambda n: make_layout(n, *both), ("rollback", {}, b"")):
        found = current(layout)
        assert found in {OLD, NEW}
        if found == NEW:
            ask(layout, ("rollback", {}, b""))
        assert current(layout) == OLD


def test_install_cut_at_any_step_leaves_nothing_half_installed(tmp_path):
    def make(step):
        layout = Layout(str(tmp_path / f"install{step}"))
        ask(layout, put(WHEEL), put(b"new"))
        return layout

    for layout in every_step(make, install(b"new")):
        if Path(layout.bundle(NEW)).is_dir():
            assert names_in(layout.bundle(NEW)) == ["manifest.json", "model", "net.param"]
        if Path(layout.runtime("rt")).is_dir():
            assert names_in(layout.runtime("rt") + "/a") == ["__init__.py", "b.py"]
        ask(layout, install(b"new"), activate(b"new"))
        assert current(layout) == NEW


def test_runtime_alone_cut_at_any_step_is_whole_or_not_there(tmp_path):
    wheels = [{"path": "a.whl", "sha256": sha(WHEEL), "size_bytes": len(WHEEL)}]
    lent = ("install_runtime", {"runtime": {"id": "lent", "wheels": wheels}}, b"")

    def make(step):
        layout = Layout(str(tmp_path / f"lent{step}"))
        ask(layout, put(WHEEL))
        return layout

    for layout in every_step(make, lent):
        whole = Path(layout.runtime("lent")).is_dir()
        assert not whole or names_in(layout.runtime("lent") + "/a") == ["__init__.py", "b.py"]
        assert ask(layout, lent)[0]["runtime_made"] is not whole
        assert names_in(layout.runtime("lent") + "/a") == ["__init__.py", "b.py"]


def test_put_cut_at_any_step_leaves_nothing_wrong_in_the_store(tmp_path):
    data = os.urandom(5000)

    def make(step):
        return Layout(str(tmp_path / f"put{step}"))

    for layout in every_step(make, put(data)):
        wanted = ("missing", {"content": [[sha(data), len(data)]]}, b"")
        offset = ask(layout, wanted)[0]["missing"].get(sha(data))
        if offset is not None:
            rest = {"sha256": sha(data), "size_bytes": len(data), "offset": offset}
            ask(layout, ("put", rest, data[offset:]))
        assert Path(layout.content(sha(data))).read_bytes() == data
        assert names_in(layout.partial) == []


def test_gc_cut_at_any_step_keeps_current_and_previous(make_layout):
    both = (install(b"new"), activate(b"new"), put(b"third"), install(b"third"))
    sweep = ("gc", {"grace_s": -1}, b"")
    for layout in every_step(lambda n: make_layout(n, *both), sweep):
        assert current(layout) == NEW
        ask(layout, sweep)
        assert names_in(layout.bundles) == sorted([OLD, NEW])
        assert ask(layout, ("rollback", {}, b""))[0]["current"] == OLD


@pytest.fixture
def steps(monkeypatch):
    """Record what the system is really asked for, in order."""
    recorded = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "sync")}

    def fsync(descriptor):
        recorded.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        real["fsync"](descriptor)

    def replace(made, place):
        recorded.append(("rename", place))
        real["replace"](made, place)

    def sync():
        recorded.append(("sync", "/"))
        real["sync"]()

    for call in (fsync, replace, sync):
        monkeypatch.setattr(os, call.__name__, call)
    return recorded


def test_everything_is_flushed_before_it_is_renamed_into_place(tmp_path, steps):
    """A rename may reach the disk before the content it names, unless that was flushed."""
    layout = Layout(str(tmp_path / "device"))
    ask(layout, put(WHEEL), put(b"new"), install(b"new"), activate(b"new"))
    flushed, everything = set(), False
    renames = 0
    for operation, path in steps:
        made = {
            layout.content(sha(WHEEL)): str(Path(layout.partial, sha(WHEEL))),
            layout.content(sha(b"new")): str(Path(layout.partial, sha(b"new"))),
            layout.bundle(NEW): str(Path(layout.bundles, "." + NEW)),
            layout.generation(1): str(Path(layout.generations, ".1")),
        }
        if operation == "fsync":
            flushed.add(path)
        everything = everything or operation == "sync"
        if operation == "rename":
            renames += 1
            if path == layout.runtime("rt"):
                assert everything
            elif path != layout.current:  # a link has no content of its own to flush
                assert made[path] in flushed, path
    assert renames == 6
    for inside in (layout.bundles + "/." + NEW + "/manifest.json",
                   layout.generations + "/.1/meta.json", layout.root, layout.store):  # fmt: skip
        assert inside in flushed
