"""The link is cut in mid-push: what arrived is kept, and the next call goes on from there."""

import os
import subprocess

import pytest

from edgekit.core.errors import ConnectionLostError, DiskFullError
from edgekit.device import LocalAddress, connect
from edgekit.device.client import AgentClient
from edgekit.device.local import LocalTransport
from edgekit.device.transfer import push

SIZE = 1_000_000


class CutStream:
    """Passes on so many bytes to the agent, then the link is gone."""

    def __init__(self, stream, allowed_bytes):
        self.stream = stream
        self.left = allowed_bytes

    def read(self, size):
        if self.left <= 0:
            raise ConnectionLostError("cut")
        return self.stream.read(size)

    def write(self, data):
        self.stream.write(data[: max(0, self.left)])
        self.left -= len(data)
        if self.left < 0:
            self.stream.close()
            raise ConnectionLostError("cut")

    def diagnostics(self):
        return ""

    def close(self):
        self.stream.close()


class CutTransport(LocalTransport):
    def __init__(self, root, allowed_bytes):
        super().__init__(LocalAddress(root=root))
        self.allowed_bytes = allowed_bytes

    def open(self, command):
        return CutStream(super().open(command), self.allowed_bytes)


@pytest.mark.parametrize(
    "allowed_bytes",
    [1, 60, 130, 140, 200, 262_144, 300_000, 300_001, 555_555, 999_999, SIZE, SIZE + 100],
)
def test_push_after_a_cut_goes_on_where_it_stopped(device, workshop, device_root, allowed_bytes):
    data = os.urandom(SIZE)
    file = workshop.file(data)
    transport = CutTransport(device_root, allowed_bytes)
    with pytest.raises(ConnectionLostError):
        push(AgentClient.start(transport), [file], lambda _event: None)
    transport.close()
    partial = device_root / "partial" / file.sha256
    kept = partial.stat().st_size if partial.exists() else 0
    assert kept >= min(allowed_bytes, SIZE) - 300
    with connect(LocalAddress(root=device_root)) as again:
        assert again.push([file]).bytes_sent == SIZE - kept
        assert again.push([file]).bytes_sent == 0
    assert (device_root / "store" / file.sha256).read_bytes() == data


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 16 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_push_of_more_than_fits_is_refused_before_anything_is_sent(small_disk, workshop):
    files = [workshop.file(os.urandom(9_000_000)), workshop.file(os.urandom(9_000_000))]
    with connect(LocalAddress(root=small_disk)) as device:
        with pytest.raises(DiskFullError) as caught:
            device.push(files)
        assert "18.0 MB needed" in caught.value.hint
        assert list((small_disk / "partial").iterdir()) == []
        assert device.push(files[:1]).files_sent == 1


def test_disk_that_fills_up_in_mid_push_keeps_what_arrived(small_disk, workshop):
    file = workshop.file(os.urandom(9_000_000))

    def fill(_event):
        with (small_disk / "other").open("ab") as other:
            other.write(bytes(2_000_000))

    with connect(LocalAddress(root=small_disk)) as device:
        filling = iter(range(4))

        def emit(event):
            if type(event).__name__ == "StepProgress" and next(filling, None) is not None:
                fill(event)

        with pytest.raises(DiskFullError):
            device.push([file], emit)
        kept = (small_disk / "partial" / file.sha256).stat().st_size
        assert 0 < kept < 9_000_000
        (small_disk / "other").unlink()
        assert device.push([file]).bytes_sent == 9_000_000 - kept


def test_install_of_a_runtime_that_does_not_fit_leaves_nothing(small_disk, workshop):
    bundle = workshop.bundle()
    wheel = workshop.wheel({"zeros.bin": bytes(30_000_000)})
    import dataclasses

    runtime = dataclasses.replace(bundle.runtime, identity="large", wheels=(wheel,))
    large = dataclasses.replace(bundle, runtime=runtime)
    with connect(LocalAddress(root=small_disk)) as device:
        device.push(large.content)
        with pytest.raises(DiskFullError):
            device.install(large)
        assert list((small_disk / "runtimes").iterdir()) == []
        assert device.status().bundles == ()
