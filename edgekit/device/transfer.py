"""Content to the device: only what it lacks, from where the last attempt stopped."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from device_agent.protocol import DATA_CHUNK_BYTES
from edgekit.core.bundle import BundleFile
from edgekit.core.errors import AgentError, EdgekitError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.core.report import Transfer
from edgekit.device.client import AgentClient

STEP: Final = "push"
_MB: Final = 1e6
_ATTEMPTS: Final = 2
_AHEAD: Final = 16  # requests under way; their answers are small and fit any pipe


def push(client: AgentClient, files: Sequence[BundleFile], emit: EventSink) -> Transfer:
    """Send the content that the device lacks.

    Content that arrives damaged is sent once more, whole: what an earlier attempt left may have
    been damaged by a power cut.

    Raises:
        DiskFullError: it would not fit; nothing was sent.
        ConnectionLostError: the link broke; the next call goes on from there.
        AgentError: the device refused.
    """
    unique = {file.sha256: file for file in files}
    emit(StepStarted(STEP, "Send what the device lacks"))
    sent: list[int] = []
    try:
        for attempt in range(_ATTEMPTS):
            offsets = _missing(client, unique)
            work = [(unique[sha256], offset) for sha256, offset in offsets.items()]
            try:
                sent += _send_all(client, work, emit)
                break
            except AgentError as error:
                if error.code != "hash_mismatch" or attempt + 1 == _ATTEMPTS:
                    raise
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, f"{sum(sent) / _MB:.1f} MB" if sent else "nothing to send"))
    return Transfer(len(sent), sum(sent), len(unique) - len(sent))


def _missing(client: AgentClient, unique: Mapping[str, BundleFile]) -> Mapping[str, int]:
    if not unique:
        return {}
    content = [[file.sha256, file.size_bytes] for file in unique.values()]
    missing: Mapping[str, int] = client.request("missing", {"content": content})["missing"]
    return missing


def _send_all(
    client: AgentClient, work: Sequence[tuple[BundleFile, int]], emit: EventSink
) -> list[int]:
    total_bytes = sum(file.size_bytes - offset for file, offset in work)
    done_bytes = 0
    received: list[int] = []

    def count(answer: Mapping[str, Any]) -> None:
        received.append(int(answer["received_bytes"]))

    for file, offset in work:
        _check_source(file)
        args = {"sha256": file.sha256, "size_bytes": file.size_bytes, "offset": offset}
        told = _told(_read(file, offset), done_bytes, total_bytes, emit)
        client.submit("put", args, content=told, on_result=count)
        done_bytes += file.size_bytes - offset
        client.settle(leave=_AHEAD)
    client.settle()
    return received


def _told(
    content: Iterator[bytes], done_bytes: int, total_bytes: int, emit: EventSink
) -> Iterator[bytes]:
    for piece in content:
        yield piece
        done_bytes += len(piece)
        emit(StepProgress(STEP, done_bytes, total_bytes, "B"))


def _check_source(file: BundleFile) -> None:
    if not file.source.is_file() or file.source.stat().st_size != file.size_bytes:
        raise _changed(file.source)


def _read(file: BundleFile, offset: int) -> Iterator[bytes]:
    left = file.size_bytes - offset
    with file.source.open("rb", buffering=0) as source:
        source.seek(offset)
        while left:
            piece = source.read(min(left, DATA_CHUNK_BYTES))
            if not piece:
                raise _changed(file.source)
            left -= len(piece)
            yield piece


def _changed(path: Path) -> EdgekitError:
    return EdgekitError(
        f"{path} is not what it was when it was built", hint="run the same command again"
    )
