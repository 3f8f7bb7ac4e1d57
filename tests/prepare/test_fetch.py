"""Model files from mirrors, caches, packages, and a real server that misbehaves."""

import contextlib
import hashlib
import re
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from edgekit.core.errors import FetchError
from edgekit.core.events import StepFinished, StepProgress, ignore
from edgekit.core.recipe import Source
from edgekit.prepare.download import Patience
from edgekit.prepare.fetch import fetch_model

CONTENT = np.random.default_rng(3).bytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content``; breaks off, refuses or ignores ranges as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.break_after = []  # bytes of the body after which each answer breaks off, in turn
        self.statuses = []  # answered first, in turn
        self.ranges = True
        self.etag = '"one"'
        self.length = True
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/files/model.onnx"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        self.close_connection = True
        if server.statuses:
            self.send_response(server.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        if start and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.break_after:
            body = body[: server.break_after.pop(0)]
        with contextlib.suppress(ConnectionError):  # the client may hang up, which is its right
            self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def patience(pauses):
    return Patience(attempts=3, first_pause_s=0.5, sleep=pauses.append)


def source(server, **changes):
    values = {
        "kind": "url",
        "filename": "model.onnx",
        "sha256": SHA256,
        "size_bytes": len(CONTENT),
        "url": server.url,
    }
    return Source(**{**values, **changes})


def parts(cache):
    return sorted(path.name for path in (cache / "partial").glob("*.part"))


def held(cache):
    return sorted(path.name for path in (cache / "content").glob("??/*"))


def test_url_is_fetched_once_with_progress(server, events, own_cache):
    file = fetch_model(source(server), emit=events)
    assert file.path.read_bytes() == CONTENT
    assert (file.sha256, file.size_bytes) == (SHA256, len(CONTENT))
    progress = events.of(StepProgress)
    assert progress[-1].done == progress[-1].total == len(CONTENT)
    assert fetch_model(source(server), emit=events) == file
    assert events.of(StepFinished)[-1].detail == "cached"
    assert len(server.asked) == 1
    assert parts(own_cache) == []


def test_two_at_once_fetch_it_once(server, events):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: fetch_model(source(server), emit=events), range(2)))
    assert both[0] == both[1]
    assert len(server.asked) == 1


def test_full_disk_is_not_tried_again(server, monkeypatch, patience, tmp_path, own_cache):
    full = own_cache / "partial" / f"{SHA256}.part"
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    with pytest.raises(FetchError, match="No space left on device"):
        fetch_model(source(server), emit=ignore, patience=patience)
    assert len(server.asked) == 1


def test_connection_broken_in_the_body_is_resumed(server, patience, pauses, own_cache):
    server.break_after = [600_000, 500_000]
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=600000-", "bytes=1100000-"]
    assert pauses == [0.5, 0.5]  # bytes came each time, so patience begins anew


def test_part_is_kept_for_the_next_call(server, patience, own_cache):
    server.break_after = [400_000]
    one_try = Patience(attempts=1, sleep=patience.sleep)
    with pytest.raises(FetchError, match="broke off after 400,000 of 1,500,000 bytes"):
        fetch_model(source(server), emit=ignore, patience=one_try)
    assert parts(own_cache) == [f"{SHA256}.part"]
    assert held(own_cache) == []
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=400000-"


def test_server_without_ranges_is_read_from_the_start(server, patience):
    server.ranges = False
    server.break_after = [600_000]
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT


def test_file_that_changed_in_between_is_read_from_the_start(server, patience):
    server.content = bytes(len(CONTENT))
    server.break_after = [600_000]
    one_try = Patience(attempts=1, sleep=patience.sleep)
    with pytest.raises(FetchError):
        fetch_model(source(server), emit=ignore, patience=one_try)
    server.content, server.etag = CONTENT, '"two"'
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT


def test_wrong_part_without_a_version_is_thrown_away(server, patience):
    server.etag = ""
    server.content = bytes(len(CONTENT))
    server.break_after = [600_000]
    one_try = Patience(attempts=1, sleep=patience.sleep)
    with pytest.raises(FetchError):
        fetch_model(source(server), emit=ignore, patience=one_try)
    server.content = CONTENT
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=600000-", None]


def test_length_unknown_to_the_server_is_fetched(server, patience):
    server.length = False
    file = fetch_model(source(server, size_bytes=None), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT


def test_wrong_content_shows_both_hashes_and_keeps_nothing(server, patience, own_cache):
    server.content = bytes(len(CONTENT))
    with pytest.raises(FetchError) as caught:
        fetch_model(source(server), emit=ignore, patience=patience)
    assert SHA256 in caught.value.message
    assert hashlib.sha256(server.content).hexdigest() in caught.value.message
    assert parts(own_cache) == held(own_cache) == []


def test_wrong_length_is_refused_before_it_is_read(server, patience, events):
    server.content = CONTENT + b"more"
    with pytest.raises(FetchError, match="1,500,004 bytes long, promised were 1,500,000"):
        fetch_model(source(server), emit=events, patience=patience)
    assert not events.of(StepProgress)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_passing_trouble_is_waited_out(server, patience, pauses, status):
    server.statuses = [status, status]
    file = fetch_model(source(server), emit=ignore, patience=patience)
    assert file.path.read_bytes() == CONTENT
    assert pauses == [0.5, 1.0]


def test_lasting_trouble_ends_after_the_last_attempt(server, patience, pauses, events):
    server.statuses = [503] * 9
    with pytest.raises(FetchError, match="HTTP 503") as caught:
        fetch_model(source(server), emit=events, patience=patience)
    assert len(server.asked) == 3
    assert "put model.onnx (1,500,000 bytes" in str(caught.value.hint)
    assert events.of(StepFinished)[-1].ok is False


def test_absent_file_is_not_asked_for_again(server, patience):
    server.statuses = [404] * 9
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch_model(source(server), emit=ignore, patience=patience)
    assert len(server.asked) == 1


def test_no_network_and_no_mirror_says_which_file_to_put_where(
    server, patience, monkeypatch, tmp_path
):
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", str(tmp_path))
    gone = source(server, url="http://127.0.0.1:1/files/model.onnx")
    with pytest.raises(FetchError, match=r"cannot fetch model\.onnx") as caught:
        fetch_model(gone, emit=ignore, patience=patience)
    hint = str(caught.value.hint)
    for part in ("model.onnx", "1,500,000 bytes", SHA256, str(gone.url), str(tmp_path)):
        assert part in hint


def test_no_mirror_folder_names_the_setting(server, patience):
    gone = source(server, url="http://127.0.0.1:1/files/model.onnx")
    with pytest.raises(FetchError) as caught:
        fetch_model(gone, emit=ignore, patience=patience)
    assert "EDGEKIT_MODEL_PATH" in str(caught.value.hint)


def test_other_schemes_are_refused(server, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    with pytest.raises(FetchError, match="no http or https address"):
        fetch_model(source(server, url=path.as_uri()), emit=ignore)


def test_mirror_is_asked_first(server, monkeypatch, tmp_path, events):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "model.onnx").write_bytes(CONTENT)
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", f"{empty}:{full}")
    file = fetch_model(source(server), emit=events)
    assert file.path == full / "model.onnx"
    assert events.of(StepFinished)[0].detail == "mirror"
    assert server.asked == []


def test_other_file_in_the_mirror_is_passed_over_and_named_if_all_fails(
    server, patience, monkeypatch, tmp_path
):
    (tmp_path / "model.onnx").write_bytes(b"another")
    monkeypatch.setenv("EDGEKIT_MODEL_PATH", str(tmp_path))
    assert fetch_model(source(server), emit=ignore).path.read_bytes() == CONTENT
    other = source(server, sha256="0" * 64, url="http://127.0.0.1:1/model.onnx")
    with pytest.raises(FetchError) as caught:
        fetch_model(other, emit=ignore, patience=patience)
    assert f"{tmp_path / 'model.onnx'} is another file" in caught.value.message
    assert hashlib.sha256(b"another").hexdigest() in caught.value.message


def test_damaged_cache_is_fetched_anew(server):
    file = fetch_model(source(server), emit=ignore)
    file.path.chmod(0o644)
    file.path.write_bytes(b"damaged")
    assert fetch_model(source(server), emit=ignore).path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_local_file_is_taken_where_it_lies(tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(CONTENT)
    file = fetch_model(Source(kind="file", filename="mine.onnx", path=path), emit=ignore)
    assert (file.path, file.sha256, file.size_bytes) == (path, SHA256, len(CONTENT))


def test_local_file_with_another_hash_is_refused(tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(CONTENT)
    wrong = Source(kind="file", filename="mine.onnx", path=path, sha256="0" * 64)
    with pytest.raises(FetchError) as caught:
        fetch_model(wrong, emit=ignore)
    assert SHA256 in caught.value.message
    assert "0" * 64 in caught.value.message


def test_absent_local_file_is_refused(tmp_path):
    gone = Source(kind="file", filename="mine.onnx", path=tmp_path / "mine.onnx")
    with pytest.raises(FetchError, match="there is no file"):
        fetch_model(gone, emit=ignore)


def test_download_without_a_hash_is_refused(server):
    with pytest.raises(FetchError, match="no sha256"):
        fetch_model(source(server, sha256=None), emit=ignore)
    assert server.asked == []


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A wheel that pip finds by the user's own settings: a folder of links, no index."""
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr("tiny_weights/model.onnx", CONTENT)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return Source(
        kind="pypi",
        filename="model.onnx",
        sha256=SHA256,
        size_bytes=len(CONTENT),
        package="tiny-weights",
        version="1.0",
        member="tiny_weights/model.onnx",
    )


def test_member_of_a_wheel_is_fetched_through_pip(package, own_cache, monkeypatch):
    file = fetch_model(package, emit=ignore)
    assert file.path.read_bytes() == CONTENT
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")
    assert fetch_model(package, emit=ignore) == file
    assert [path.suffix for path in (own_cache / "partial").iterdir()] == [".lock"]


def test_wheel_without_the_member_is_refused(package):
    with pytest.raises(FetchError, match=r"holds no tiny_weights/other\.onnx"):
        fetch_model(replace(package, member="tiny_weights/other.onnx"), emit=ignore)


def test_member_with_another_hash_is_refused(package, own_cache):
    with pytest.raises(FetchError, match="0" * 64) as caught:
        fetch_model(replace(package, sha256="0" * 64), emit=ignore)
    assert SHA256 in caught.value.message
    assert held(own_cache) == []


def test_package_that_pip_cannot_find_says_what_to_do(package):
    with pytest.raises(FetchError, match="pip cannot download tiny-weights==9") as caught:
        fetch_model(replace(package, version="9"), emit=ignore)
    assert "tiny_weights/model.onnx in the wheel of tiny-weights 9" in str(caught.value.hint)
