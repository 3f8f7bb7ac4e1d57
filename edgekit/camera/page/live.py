"""The live page: takes events in, and never makes whoever brings them wait."""

import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.camera.page.messages import Message, message_of
from edgekit.camera.page.server import ADDRESS, PageServer
from edgekit.camera.page.state import PageState
from edgekit.camera.page.tabs import Tab, packed
from edgekit.core.closing import Closing
from edgekit.core.errors import UsageError

_TOKEN_BYTES: Final = 12
_POLL_S: Final = 0.1
_LAST_WORDS_S: Final = 2.0


class LivePage(Closing):
    """A page in the browser that shows a running camera pipeline.

    Args:
        port: to listen on at 127.0.0.1; 0 for a free one.
        title: what is watched, such as ``yolov5 on pi@192.168.1.20``.
        classes: names of the model's classes, by index.
        bundles: names of the bundles that the pipeline may switch between.
        emulated: whether the device is: the page then says that its times are not a board's.

    Raises:
        UsageError: the port is not to be had.
    """

    def __init__(
        self,
        port: int = 0,
        title: str = "camera",
        classes: Sequence[str] = (),
        bundles: Sequence[str] = (),
        *,
        emulated: bool = False,
    ) -> None:
        self._changed = threading.Condition()
        self._is_closing = False
        self._tabs: list[Tab] = []
        self._state = PageState(
            {
                "title": title,
                "classes": list(classes),
                "bundles": list(bundles),
                "emulated": emulated,
            }
        )
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        try:
            self._server = PageServer(port, token, self._opened, self._closed)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot listen on port {port} of this machine: {error}",
                hint="name another port, or none for one that is free",
            ) from error
        self.url: Final = f"http://{ADDRESS}:{self._server.server_address[1]}/{token}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="live page", daemon=True
        )
        self._thread.start()

    @property
    def tabs(self) -> int:
        """How many tabs watch now."""
        with self._changed:
            return len(self._tabs)

    def take(self, event: Mapping[str, Any]) -> None:
        """Show an event; one that the page has no use for is passed over.

        Args:
            event: the runner's (``phase`` is ``second`` or ``preview``), or one of
                ``{"phase": "power", "watts": 4.1, "temperature_c": 61.0}``,
                ``{"phase": "gone", "why": ...}`` where the link to the device is lost (the next
                second says that it is back), ``{"phase": "ended", "why": ...}``.
        """
        message = message_of(event)
        if message is None:
            return
        with self._changed:
            for told in self._state.take(message):
                self._tell(told)

    def close(self) -> None:
        """Tell the tabs that it is over, and serve nothing more."""
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            ended = self._state.has_ended
        if not ended:
            self.take({"phase": "ended", "why": "edgekit stopped watching"})
        self._server.shutdown()
        with self._changed:
            for tab in self._tabs:
                tab.end()
            self._changed.wait_for(lambda: not self._tabs, _LAST_WORDS_S)
        self._server.end()
        self._thread.join()

    def _tell(self, message: Message) -> None:
        data = packed(message.kind, message.values)
        for tab in self._tabs:
            tab.put(message, data)

    def _opened(self) -> Tab:
        with self._changed:
            tab = Tab(self._state.hello())
            self._tabs.append(tab)
            if self._is_closing:
                tab.end()
        return tab

    def _closed(self, tab: Tab) -> None:
        with self._changed:
            self._tabs.remove(tab)
            self._changed.notify_all()
