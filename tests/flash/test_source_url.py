"""Images over HTTP: links that break, servers that forget, and what is kept."""

import hashlib
import lzma
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from flash_disks import block_map, boots, holds, refusal

from edgekit.flash import downloads, source_url
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image

CONTENT = random.Random(8).randbytes(700_000)


class Server:
    """Serves files; ``cuts`` are places of the first file where the link breaks, once each."""

    def __init__(self):
        self.files = {}
        self.etag = '"first"'
        self.ranges = True
        self.cuts = []
        self.asked = []
        self.broken_from = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.answer(self)

            def log_message(self, *arguments):
                pass

        self._inner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._inner.server_port}"
        self._thread = threading.Thread(target=self._inner.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        self._inner.shutdown()
        self._inner.server_close()
        self._thread.join()

    def answer(self, handler):
        handler.close_connection = True
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        wanted = handler.headers.get("Range")
        if not handler.path.endswith(".bmap"):
            self.asked.append(wanted)
        if self.etag and handler.headers.get("If-None-Match") == self.etag:
            handler.send_response(304)
            handler.end_headers()
            return
        start = 0
        held = handler.headers.get("If-Range")
        if wanted and self.ranges and (held is None or held == self.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            handler.send_header("Content-Range", span)
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        end = min([cut for cut in self.cuts if cut > start], default=len(content))
        if end in self.cuts:
            self.cuts.remove(end)
        if self.broken_from is not None:
            end = max(min(end, self.broken_from), start)
        handler.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(source_url, "_LONGEST_PAUSE_S", 0)
    started = Server()
    started.files["/system.img"] = CONTENT
    yield started
    started.close()


def flash(server, disk, cache, name="/system.img", **options):
    with open_image(server.url + name, cache=cache, **options) as source:
        (written,) = write_image(source, [disk])
    assert written.error is None
    return written


def test_link_that_breaks_at_20_places_is_survived(server, disk, tmp_path):
    server.cuts = [len(CONTENT) * place // 21 for place in range(1, 21)]
    written = flash(server, disk, tmp_path)
    assert holds(disk, CONTENT)
    assert written.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert len(server.asked) == 21
    assert not server.cuts


def test_link_that_stays_broken_is_an_error_at_20_places_and_resumed_next_time(
    server, disk, tmp_path
):
    for place in range(20):
        cache = tmp_path / str(place)
        server.broken_from = len(CONTENT) * place // 20
        told = refusal(lambda cache=cache: flash(server, disk, cache))
        assert "is not to be had" in told
        assert not boots(disk) or not place
        server.broken_from, server.asked = None, []
        flash(server, disk, cache)
        assert holds(disk, CONTENT)
        begun = f"bytes={len(CONTENT) * place // 20}-" if place else None
        assert server.asked == [begun]


def test_server_without_ranges_is_read_again_and_compared(server, disk, tmp_path):
    server.ranges = False
    server.cuts = [100_000, 400_000]
    flash(server, disk, tmp_path)
    assert holds(disk, CONTENT)


def test_file_that_changes_while_it_is_read_is_an_error(server, disk, tmp_path):
    with open_image(server.url + "/system.img", cache=tmp_path) as source:
        server.broken_from = 400_000
        source._download._hang_up()
        server.etag = '"second"'
        server.files["/system.img"] = CONTENT[::-1]
        server.broken_from = None
        told = refusal(lambda: write_image(source, [disk]))
    assert "changed on the server" in told
    assert not boots(disk)


def test_file_that_changed_since_last_time_is_read_anew(server, disk, tmp_path):
    server.broken_from = 300_000
    refusal(lambda: flash(server, disk, tmp_path))
    server.broken_from, server.etag = None, '"second"'
    server.files["/system.img"] = CONTENT[::-1]
    flash(server, disk, tmp_path)
    assert holds(disk, CONTENT[::-1])


def test_whole_file_is_asked_for_and_not_fetched_twice(server, disk, tmp_path):
    flash(server, disk, tmp_path)
    flash(server, disk, tmp_path)
    assert server.asked == [None, None]
    kept = hashlib.sha256(CONTENT).hexdigest()
    server.asked = []
    flash(server, disk, tmp_path, sha256=kept)
    assert server.asked == []
    server.etag = ""
    flash(server, disk, tmp_path)
    assert holds(disk, CONTENT)


def test_download_makes_room_by_what_was_used_longest_ago(server, disk, tmp_path, monkeypatch):
    monkeypatch.setattr(
        source_url, "forget_old", lambda used: downloads.forget_old(used, 2 * len(CONTENT))
    )
    for name in ("/first.img", "/second.img", "/system.img"):
        server.files[name] = CONTENT
    flash(server, disk, tmp_path, "/first.img")
    flash(server, disk, tmp_path, "/second.img")
    flash(server, disk, tmp_path, "/first.img")  # the server says that it is still the same
    flash(server, disk, tmp_path, "/system.img")
    server.etag = '"other"'
    promised = hashlib.sha256(CONTENT).hexdigest()
    server.asked = []
    flash(server, disk, tmp_path, "/first.img", sha256=promised)
    assert server.asked == []
    flash(server, disk, tmp_path, "/second.img", sha256=promised)
    assert server.asked == [None]


def test_what_is_kept_and_proves_wrong_is_forgotten(server, disk, tmp_path):
    server.files["/system.img"] = CONTENT[::-1]
    promised = hashlib.sha256(CONTENT).hexdigest()
    told = refusal(lambda: flash(server, disk, tmp_path, sha256=promised))
    assert "not what was promised" in told
    server.files["/system.img"] = CONTENT
    flash(server, disk, tmp_path, sha256=promised)
    assert holds(disk, CONTENT)


def test_packed_image_with_a_block_map_comes_over_broken_links(server, disk, tmp_path):
    server.files["/system.img.xz"] = packed = lzma.compress(CONTENT, preset=0)
    server.files["/system.img.bmap"] = block_map(CONTENT)
    server.cuts = [len(packed) // 3, len(packed) // 2]
    told = []
    flash(server, disk, tmp_path, "/system.img.xz", emit=told.append)
    assert holds(disk, CONTENT)
    assert any("block map" in each.text for each in told)


def test_page_in_place_of_a_block_map_that_nobody_asked_for_is_none(server, disk, tmp_path):
    server.files["/system.img.bmap"] = server.files["/system.bmap"] = b"<!DOCTYPE html><p>Oops"
    flash(server, disk, tmp_path)
    assert holds(disk, CONTENT)


def test_zip_is_fetched_whole_first(server, disk, tmp_path):
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("system.img", CONTENT)
    server.files["/system.zip"] = packed = file.getvalue()
    digest = hashlib.sha256(packed).hexdigest()
    flash(server, disk, tmp_path, "/system.zip", sha256=digest)
    assert holds(disk, CONTENT)


def test_file_that_is_not_on_the_server_is_told_at_once(server, disk, tmp_path):
    told = refusal(lambda: flash(server, disk, tmp_path, "/absent.img"))
    assert "404" in told


def test_secrets_of_an_address_are_not_told(server, disk, tmp_path):
    name = "/absent.img?token=secret"
    assert "secret" not in refusal(lambda: flash(server, disk, tmp_path, name))
