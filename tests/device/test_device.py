"""The whole of a device's life, over a real agent in a process of its own."""

import dataclasses
import os
import sys
import time

import pytest
from device_life import deliver

from edgekit.core.errors import (
    AgentError,
    EdgekitError,
    WrongDeviceError,
)
from edgekit.core.events import StepFinished, StepProgress
from edgekit.device import RunRequest, StandsFor, check_target


def test_facts_tell_of_this_machine(device, device_root):
    assert device.facts.machine == os.uname().machine
    assert device.facts.hostname == os.uname().nodename
    assert device.facts.cpu_usable == len(os.sched_getaffinity(0))
    assert device.facts.emulated is False
    mine = device.facts.pythons[0]
    assert mine.executable == sys.executable
    assert mine.version == ".".join(map(str, sys.version_info[:3]))
    import numpy as np

    assert mine.numpy == np.__version__
    assert device_root.is_dir()


def test_push_sends_only_what_is_missing(device, workshop):
    first, second = workshop.file(b"a" * 700_000), workshop.file(b"")
    events = []
    sent = device.push([first, second, first], events.append)
    assert (sent.files_sent, sent.bytes_sent, sent.files_present) == (2, 700_000, 0)
    assert [e.done for e in events if isinstance(e, StepProgress)][-1] == 700_000
    again = device.push([first, second])
    assert (again.files_sent, again.bytes_sent, again.files_present) == (0, 0, 2)


def test_push_of_many_small_files_sends_them_all(device, workshop, device_root):
    files = [workshop.file(str(index).encode()) for index in range(300)]
    assert device.push(files).files_sent == 300
    for file in files:
        assert (device_root / "store" / file.sha256).read_bytes() == file.source.read_bytes()


def test_push_of_content_changed_on_the_host_is_refused_and_not_kept(device, workshop, device_root):
    file = workshop.file(b"x" * 1000)
    file.source.write_bytes(b"y" * 1000)
    with pytest.raises(AgentError) as caught:
        device.push([file])
    assert caught.value.code == "hash_mismatch"
    assert not (device_root / "store" / file.sha256).exists()
    assert not (device_root / "partial" / file.sha256).exists()
    file.source.write_bytes(b"x" * 1000)
    assert device.push([file]).files_sent == 1


def test_push_of_a_shortened_file_is_refused_before_anything_is_sent(device, workshop):
    file = workshop.file(b"x" * 1000)
    file.source.write_bytes(b"x")
    with pytest.raises(EdgekitError, match="not what it was"):
        device.push([file])
    assert device.status().current is None  # the conversation goes on


def test_push_after_damaged_partial_content_sends_it_whole(device, workshop, device_root):
    file = workshop.file(os.urandom(600_000))
    (device_root / "partial" / file.sha256).write_bytes(bytes(300_000))  # a power cut's zeros
    sent = device.push([file])
    assert sent.bytes_sent == 600_000
    assert (device_root / "store" / file.sha256).read_bytes() == file.source.read_bytes()


def test_install_links_files_and_unpacks_wheels(device, workshop, device_root):
    bundle = workshop.bundle()
    events = []
    device.push(bundle.content)
    device.install(bundle, events.append)
    folder = device_root / "bundles" / bundle.identity
    assert (folder / "manifest.json").read_bytes() == bundle.manifest_bytes
    assert (folder / "model/net.bin").read_bytes() == b"weights"
    runtime = device_root / "runtimes" / bundle.runtime.identity
    assert (runtime / "merged.py").is_file()
    assert not list(runtime.rglob("tool"))
    device.install(bundle, events.append)
    assert [e.detail for e in events if isinstance(e, StepFinished)] == ["", "was there already"]


def test_install_without_content_names_what_is_absent(device, workshop):
    bundle = workshop.bundle()
    with pytest.raises(AgentError, match=r"model/net\.bin") as caught:
        device.install(bundle)
    assert caught.value.code == "not_found"


def test_install_for_another_architecture_is_refused(device, workshop):
    bundle = workshop.bundle(architecture="armv7l")
    device.push(bundle.content)
    with pytest.raises(WrongDeviceError, match="armv7l"):
        device.install(bundle)


def test_install_for_another_board_is_refused(device, workshop):
    bundle = workshop.bundle(compatible=("rockchip,rk3566",))
    device.push(bundle.content)
    with pytest.raises(WrongDeviceError, match=r"rockchip,rk3566"):
        device.install(bundle)


def test_install_for_a_board_that_this_folder_is_made_for(device, workshop):
    bundle = workshop.bundle(architecture="armv7l", compatible=("rockchip,rk3566",))
    device.push(bundle.content)
    other = StandsFor("armv7l", ("radxa,rock3c", "rockchip,rk3566"))
    with pytest.raises(WrongDeviceError, match=r"rockchip,rk3568"):
        device.install(bundle, stands_for=StandsFor("armv7l", ("rockchip,rk3568",)))
    device.install(bundle, stands_for=other)
    assert device.activate(bundle.identity).current == bundle.identity


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "a\\..\\b"])
def test_install_of_an_archive_that_leads_outside_is_refused(device, workshop, device_root, name):
    wheel = workshop.wheel({"fine.py": b"", name: b"bad"})
    plain = workshop.bundle()
    bundle = dataclasses.replace(
        plain, runtime=dataclasses.replace(plain.runtime, identity="evil", wheels=(wheel,))
    )
    device.push(bundle.content)
    with pytest.raises(AgentError) as caught:
        device.install(bundle)
    assert caught.value.code == "unsafe_archive"
    assert not list(device_root.rglob("outside"))
    assert not (device_root / "runtimes" / "evil").exists()


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".", ""])
def test_install_of_a_manifest_path_that_leads_outside_is_refused(device, workshop, path):
    plain = workshop.bundle()
    bad = dataclasses.replace(plain.files[0], path=path)
    bundle = dataclasses.replace(plain, files=(bad, plain.files[1]))
    device.push(bundle.content)
    with pytest.raises(AgentError) as caught:
        device.install(bundle)
    assert caught.value.code == "bad_request"


def test_activate_and_rollback_walk_the_generations(device, workshop):
    one, two, three = (workshop.bundle(model=data) for data in (b"1", b"2", b"3"))
    for bundle in (one, two, three):
        deliver(device, bundle)
    assert device.status().activation is None
    first = device.activate(one.identity)
    assert (first.current, first.previous, first.generation, first.changed) == (
        one.identity, None, 1, True,
    )  # fmt: skip
    assert device.activate(one.identity).changed is False
    assert device.activate(two.identity).previous == one.identity
    back = device.rollback()
    assert (back.current, back.previous, back.generation) == (one.identity, None, 1)
    with pytest.raises(AgentError) as caught:
        device.rollback()
    assert caught.value.code == "no_previous"
    last = device.activate(three.identity)
    assert (last.previous, last.generation) == (one.identity, 3)
    status = device.status()
    assert status.current.bundle == three.identity
    assert status.current.engine == "ncnn"
    assert status.current.knobs == (("threads", 2),)
    assert status.activation.previous == one.identity
    assert set(status.bundles) == {one.identity, two.identity, three.identity}


def test_activate_of_what_is_not_installed_leaves_current(device, workshop):
    bundle = workshop.bundle()
    deliver(device, bundle)
    device.activate(bundle.identity)
    with pytest.raises(AgentError) as caught:
        device.activate("0" * 64)
    assert caught.value.code == "not_found"
    assert device.status().current.bundle == bundle.identity


def test_gc_keeps_current_and_previous(device, workshop, device_root):
    bundles = [workshop.bundle(model=data) for data in (b"1", b"2", b"3", b"4")]
    for bundle in bundles:
        deliver(device, bundle)
    device.push([workshop.file(b"not of any bundle")])
    for bundle in bundles[:3]:
        device.activate(bundle.identity)
    assert device.gc() == 0  # all of it is young
    assert device.gc(grace_s=-1) >= len(b"not of any bundle") + 2
    assert set(device.status().bundles) == {bundle.identity for bundle in bundles[1:3]}
    content = {file.sha256 for bundle in bundles[1:3] for file in bundle.content}
    assert {path.name for path in (device_root / "store").iterdir()} == content
    assert device.rollback().current == bundles[1].identity
    with pytest.raises(AgentError):
        device.rollback()
    device.run(bundles[1].identity, RunRequest("infer", ()))


def test_check_target_refuses_another_architecture_and_another_board(device):
    from edgekit.core.target import Cluster, Target

    mine = Target("local", "this", "any", device.facts.machine, (Cluster("x", 1, 1),), "native", "")
    check_target(device.facts, mine)
    with pytest.raises(WrongDeviceError, match="armv7l"):
        check_target(device.facts, dataclasses.replace(mine, architecture="armv7l"))
    board = dataclasses.replace(mine, compatible=("rockchip,rk3566",))
    with pytest.raises(WrongDeviceError, match="no device tree"):
        check_target(device.facts, board)
    facts = dataclasses.replace(device.facts, compatible=("radxa,rock3a", "rockchip,rk3566"))
    check_target(facts, board)


def test_gc_removes_agents_of_former_releases_alone(device, device_root):
    (own,) = (device_root / "agent").iterdir()
    former, recent = own.with_name("agent-0.pyz"), own.with_name("agent-1.pyz")
    for path in (former, recent):
        path.write_bytes(b"agent")
    long_ago = time.time() - 40 * 24 * 3600
    for path in (former, own):
        os.utime(path, (long_ago, long_ago))
    assert device.gc() == len(b"agent")
    assert sorted((device_root / "agent").iterdir()) == sorted([own, recent])
