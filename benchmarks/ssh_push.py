"""Pushing 100 MB to an sshd on loopback: edgekit's throughput over that of ``scp``.

Both are timed whole: from nothing to a closed connection, logins included, the same random
file in the same round, onto the same file system. ``scp`` runs with its defaults. edgekit's
push also starts the agent, and has it check the sha256 and sync the file to disk.

Talk goes to standard error; standard output has one JSON object a figure.
"""

import hashlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sshd_fixture import Sshd  # noqa: E402 - found through the line above

from edgekit.core.bundle import BundleFile  # noqa: E402
from edgekit.core.events import ignore  # noqa: E402
from edgekit.device import connect  # noqa: E402
from edgekit.device.ssh import SshTransport  # noqa: E402

SIZE_BYTES = 100_000_000
ROUNDS = 9
GOAL = 0.8


def by_scp(sshd: Sshd, file: BundleFile) -> None:
    """Copy with OpenSSH's own client, as it comes."""
    options = (
        *("-F", "none", "-o", f"UserKnownHostsFile={sshd.known_hosts}"),
        *("-o", "IdentitiesOnly=yes", "-i", str(sshd.identity), "-P", str(sshd.port)),
    )
    target = f"{sshd.user}@127.0.0.1:{sshd.home}/by-scp"
    subprocess.run(["scp", "-q", *options, str(file.source), target], check=True)


def by_stream(sshd: Sshd, file: BundleFile) -> None:
    """Write through the bare transport: what SSH alone costs."""
    transport = SshTransport(sshd.address)
    stream = transport.open(["sh", "-c", 'cat > "$HOME/by-stream"'])
    with (
        file.source.open("rb") as source,
        mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as content,
        memoryview(content) as view,
    ):
        stream.write(view)
    if stream.close() != 0:
        raise SystemExit("cat failed")
    transport.close()


def by_push(sshd: Sshd, file: BundleFile) -> None:
    """Push as a deployment does."""
    with connect(sshd.address, emit=ignore) as device:
        sent = device.push([file], ignore)
    if sent.bytes_sent != SIZE_BYTES:
        raise SystemExit(f"{sent} is not the whole file")


WAYS: dict[str, Callable[[Sshd, BundleFile], None]] = {
    "scp": by_scp,
    "stream": by_stream,
    "push": by_push,
}


@contextmanager
def fresh_file(folder: Path) -> Iterator[BundleFile]:
    """Make a file of random bytes, new each time: a push skips what the device has."""
    content = os.urandom(SIZE_BYTES)
    path = folder / "content"
    path.write_bytes(content)
    yield BundleFile("content", hashlib.sha256(content).hexdigest(), SIZE_BYTES, path)
    path.unlink()


def measure(sshd: Sshd, folder: Path) -> dict[str, list[float]]:
    """Time every way once a round, each round beginning with another way; seconds."""
    samples: dict[str, list[float]] = {way: [] for way in WAYS}
    ways = list(WAYS)
    for turn in range(-1, ROUNDS):  # the first round warms up, and does not count
        with fresh_file(folder) as file:
            for way in ways[turn % 3 :] + ways[: turn % 3]:
                os.sync()
                begun = time.perf_counter()
                WAYS[way](sshd, file)
                took = time.perf_counter() - begun
                if turn >= 0:
                    samples[way].append(took)
        for path in (*sshd.home.glob("by-*"), *sshd.home.glob(".edgekit/store/*")):
            path.chmod(0o600)
            path.unlink()
    return samples


def main() -> None:
    """Measure and print the figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-ssh-push-") as name:
        sshd = Sshd(Path(name) / "sshd", {"LogLevel": "ERROR"})
        sshd.start()
        try:
            samples = measure(sshd, Path(name))
        finally:
            sshd.stop()
    medians = {way: statistics.median(times) for way, times in samples.items()}
    for way, median in medians.items():
        print(
            f"{way:8} {median * 1e3:6.0f} ms  {SIZE_BYTES / median / 1e6:6.0f} MB/s",
            file=sys.stderr,
        )
    for way, what in (("push", "push, checked and synced"), ("stream", "bare stream")):
        ratio = medians["scp"] / medians[way]
        figure = {
            "figure": f"SSH {what}, 100 MB: throughput over scp's",
            "value": ratio,
            "goal": f"at least {GOAL}",
            "ok": ratio >= GOAL,
            "note": f"{medians[way] * 1e3:.0f} ms, scp {medians['scp'] * 1e3:.0f} ms, "
            f"medians of {ROUNDS}, logins included",
            "samples_s": {"scp": samples["scp"], way: samples[way]},
        }
        print(json.dumps(figure))


if __name__ == "__main__":
    main()
