"""The page's HTTP server: three files and a stream of events, for browsers on this machine."""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edgekit.camera.page.tabs import BYE, Tab, packed

Request = socket.socket | tuple[bytes, socket.socket]  # as socketserver has it

ADDRESS: Final = "127.0.0.1"
EVENTS: Final = "events"

_FILES: Final = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "picture.js": ("picture.js", "text/javascript"),
    "lines.js": ("lines.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_OWN_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_OWN_SITES: Final = ("same-origin", "none")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STILL_HERE: Final = b": still here\n\n"
_STILL_HERE_S: Final = 5.0
_RETRY: Final = b"retry: 1000\n\n"
_STUCK_S: Final = 30.0
_END_S: Final = 2.0


class PageServer(ThreadingHTTPServer):
    """Serves the page under one secret folder, so that other users of this machine see nothing.

    Args:
        port: 0 for a free one.
        token: the folder's name.
        opened: makes the mailbox of a tab that came.
        closed: is told that it went.

    Raises:
        OSError: the port is not to be had.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, port: int, token: str, opened: Callable[[], Tab], closed: Callable[[Tab], None]
    ) -> None:
        folder = Path(__file__).parent
        self.files = {
            name: ((folder / file).read_bytes(), kind) for name, (file, kind) in _FILES.items()
        }
        self.token, self.opened, self.closed = token, opened, closed
        self._talks: set[socket.socket] = set()
        self._talks_changed = threading.Condition()
        super().__init__((ADDRESS, port), _Talk)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and remember it."""
        talk, address = super().get_request()
        with self._talks_changed:
            self._talks.add(talk)
        return talk, address

    def shutdown_request(self, request: Request) -> None:
        """Close a connection."""
        super().shutdown_request(request)
        with self._talks_changed:
            self._talks = {talk for talk in self._talks if talk is not request}
            self._talks_changed.notify_all()

    def handle_error(self, request: Request, client_address: object) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def cut(self) -> None:
        """Break off every connection."""
        with self._talks_changed:
            for talk in self._talks:
                with contextlib.suppress(OSError):
                    talk.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Break off every connection, wait for their threads, and give the port back."""
        self.cut()
        with self._talks_changed:
            self._talks_changed.wait_for(lambda: not self._talks, _END_S)
        self.server_close()


class _Talk(BaseHTTPRequestHandler):
    """One request; HTTP/1.0, so that each has its connection, and ends with it."""

    server: PageServer
    server_version = "edgekit"
    sys_version = ""
    timeout = _STUCK_S  # also of a tab that takes nothing any more

    def do_GET(self) -> None:
        """Answer with a file or with the stream."""
        refused = self._refused()
        folder, _, name = urlsplit(self.path).path.lstrip("/").partition("/")
        known = folder == self.server.token and (name == EVENTS or name in self.server.files)
        if refused:
            self._answer(HTTPStatus.FORBIDDEN, refused.encode(), "text/plain")
        elif not known:
            self._answer(HTTPStatus.NOT_FOUND, b"There is nothing here.\n", "text/plain")
        elif name == EVENTS:
            self._stream()
        else:
            self._answer(HTTPStatus.OK, *self.server.files[name])

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _refused(self) -> str:
        """Why this request is not for us: a foreign name that leads here, or a foreign page."""
        names = self.headers.get_all("Host") or []
        if len(names) != 1 or not _is_own_name(names[0]):
            return "This page is for localhost only.\n"
        site = self.headers.get("Sec-Fetch-Site", "none")
        if site not in _OWN_SITES and self.headers.get("Sec-Fetch-Mode") != "navigate":
            return "This page is for itself only.\n"
        return ""

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._head(status, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _stream(self) -> None:
        self._head(HTTPStatus.OK, "text/event-stream", {})
        tab = self.server.opened()
        try:
            self.wfile.write(_RETRY)
            while (data := tab.next(_STILL_HERE_S)) is not None:
                self.wfile.write(data or _STILL_HERE)
            self.wfile.write(packed(BYE, {}))
        finally:
            self.server.closed(tab)

    def _head(self, status: HTTPStatus, kind: str, more: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", **_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()


def _is_own_name(host: str) -> bool:
    """Whether a ``Host`` header names this machine; on any port, as one may be forwarded."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in _OWN_NAMES
