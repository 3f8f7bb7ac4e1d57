"""The page's server: whom it answers, with what, and that nobody can hold it up."""

import contextlib
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest
from simulated_camera import SimulatedCamera

from edgekit.camera.page import LivePage
from edgekit.core.errors import UsageError

PATIENCE_S = 30


@pytest.fixture
def page():
    with LivePage(title="shapes on local", classes=("circle", "square")) as opened:
        yield opened


@pytest.fixture
def camera():
    return SimulatedCamera(height=90, width=160)


def ask(page, name="", host=None, method="GET", **headers):
    """One request; the response with its body read."""
    where = urlsplit(page.url)
    talk = http.client.HTTPConnection("127.0.0.1", where.port, timeout=PATIENCE_S)
    with contextlib.closing(talk):
        asked = {"Host": host or where.netloc, **headers}
        talk.putrequest(method, where.path + name, skip_host=True)
        for header, value in asked.items():
            talk.putheader(header.replace("_", "-"), value)
        talk.endheaders()
        response = talk.getresponse()
        response.content = response.read() if name != "events" else b""
        return response


@contextlib.contextmanager
def watching(page):
    """A tab: gives a function that reads the next event, ``None`` at the end."""
    where = urlsplit(page.url)
    with socket.create_connection(("127.0.0.1", where.port), PATIENCE_S) as talk:
        talk.sendall(f"GET {where.path}events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        lines = talk.makefile("rb")
        while lines.readline().strip():
            pass

        def following():
            kind = None
            for line in lines:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    kind = value
                elif key == "data":
                    return kind, json.loads(value)
            return None

        with lines:
            yield following


def does_not_hang(call):
    """Call in a thread of its own; fail where it does not come back."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "text/html"),
        ("page.js", "text/javascript"),
        ("picture.js", "text/javascript"),
        ("lines.js", "text/javascript"),
        ("page.css", "text/css"),
        ("events", "text/event-stream"),
    ],
)
def test_answers_are_strict_about_what_the_page_may_do(page, name, kind):
    response = ask(page, name)
    assert response.status == 200
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    policy = dict(
        rule.strip().split(" ", 1)
        for rule in response.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[rule] for rule in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["img-src"] == "data:"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers


def test_page_holds_no_address_of_another_place(page):
    for name in ("", "page.js", "picture.js", "lines.js", "page.css"):
        text = ask(page, name).content.decode()
        assert "//" not in text.replace("// ", "").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "localhost:9000"])
def test_own_names_are_answered_on_any_port_that_leads_here(page, host):
    assert ask(page, host=host.format(urlsplit(page.url).port)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{}", "localhost.evil.example:{}", "192.168.1.7:{}", "[::1", "", "@"]
)
def test_foreign_names_are_refused_as_after_dns_rebinding(page, host):
    response = ask(page, host=host.format(urlsplit(page.url).port) or " ")
    assert response.status == 403
    assert b"<" not in response.content
    assert ask(page, "events", host="evil.example").status == 403


def test_other_pages_may_lead_here_but_not_read(page):
    assert ask(page, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    assert ask(page, "events", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors").status == 403
    assert ask(page, "page.js", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors").status == 403
    assert ask(page, "events", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200


@pytest.mark.parametrize(
    "name",
    ["nothing", "../", "../../", "page.py", "%2e%2e/live.py", "..%2f..%2flive.py", "events/"],
)
def test_nothing_but_the_page_is_served(page, name):
    assert ask(page, name).status == 404


def test_page_is_not_to_be_found_without_its_secret_folder(page):
    class Root:
        url = page.url.rsplit("/", 2)[0] + "/"

    assert ask(Root).status == 404
    assert ask(Root, "events").status == 404
    with LivePage() as other:
        assert other.url.rsplit("/", 2)[1] != page.url.rsplit("/", 2)[1]


def test_only_get_is_served(page):
    assert ask(page, method="POST").status == 501
    assert ask(page, method="DELETE").status == 501


def test_tabs_that_come_later_see_what_went_before(page, camera):
    for _ in range(5):
        page.take(camera.second())
    page.take(camera.preview(41))
    page.take({"phase": "power", "watts": 4.25, "temperature_c": None})
    with watching(page) as following:
        kind, hello = following()
        assert kind == "hello"
        assert (hello["title"], hello["classes"]) == ("shapes on local", ["circle", "square"])
        assert [second["captured"] for second in hello["seconds"]] == [30, 60, 90, 120, 150]
        assert hello["preview"]["number"] == 41
        assert hello["power"] == {"watts": 4.25, "temperature_c": None}
        page.take(camera.second())
        kind, second = following()
        assert (kind, second["captured"], second["fps_in"]) == ("second", 180, 30)


def test_every_tab_is_told_everything_small(page, camera):
    with watching(page) as one, watching(page) as two:
        assert one()[0] == two()[0] == "hello"
        assert page.tabs == 2
        for _ in range(20):
            page.take(camera.second())
        page.take({"phase": "gone", "why": "no route"})
        for following in (one, two):
            told = []
            while ("state", {"state": "gone", "why": "no route"}) not in told:
                told.append(following())
            seconds = [values["captured"] for kind, values in told if kind == "second"]
            assert seconds == [30 * number for number in range(1, 21)]


def test_tab_that_reads_nothing_holds_up_nobody_and_gets_the_latest(page, camera):
    preview = camera.preview(0)
    preview["data"] = "A" * 400_000
    with watching(page) as slow:
        assert slow()[0] == "hello"

        def feed():
            for number in range(1, 301):  # 120 MB: more than any socket buffers
                page.take({**preview, "number": number})

        does_not_hang(feed)
        with watching(page) as other:
            assert other()[1]["preview"]["number"] == 300
        numbers = [slow()[1]["number"]]
        while numbers[-1] != 300:
            numbers.append(slow()[1]["number"])
    assert numbers == sorted(numbers)
    assert len(numbers) < 300


def test_close_ends_tabs_with_a_word_and_gives_the_port_back(camera):
    page = LivePage()
    page.take(camera.second())
    with watching(page) as following:
        assert following()[0] == "hello"
        page.close()
        assert following() == ("state", {"state": "ended", "why": "edgekit stopped watching"})
        assert following() == ("bye", {})
        assert following() is None
    port = urlsplit(page.url).port
    with LivePage(port) as again:
        assert urlsplit(again.url).port == port
    page.close()
    page.take(camera.second())


def test_close_keeps_the_reason_for_the_end(camera):
    page = LivePage()
    with watching(page) as following:
        assert following()[0] == "hello"
        page.take({"phase": "ended", "why": "30 s are over"})
        page.close()
        told = [following(), following(), following()]
    assert told == [("state", {"state": "ended", "why": "30 s are over"}), ("bye", {}), None]


def test_close_does_not_wait_for_those_who_say_and_read_nothing(camera):
    page = LivePage()
    where = ("127.0.0.1", urlsplit(page.url).port)
    preview = camera.preview(0)
    preview["data"] = "A" * 900_000
    with socket.create_connection(where), socket.create_connection(where), watching(page) as slow:
        assert slow()[0] == "hello"
        for number in range(60):
            page.take({**preview, "number": number})
        does_not_hang(page.close)
    assert not [thread for thread in threading.enumerate() if thread.name == "live page"]


def test_tab_that_left_is_forgotten(page, camera):
    with watching(page) as following:
        assert following()[0] == "hello"
        assert page.tabs == 1
    waited = threading.Event()
    for _ in range(PATIENCE_S * 10):
        page.take(camera.second())
        if not page.tabs:
            break
        waited.wait(0.1)
    assert page.tabs == 0


def test_port_that_is_taken_is_a_clear_error(page):
    port = urlsplit(page.url).port
    with pytest.raises(UsageError, match=f"port {port} of this machine") as caught:
        LivePage(port)
    assert caught.value.hint == "name another port, or none for one that is free"
    with pytest.raises(UsageError, match="port 70000"):
        LivePage(70000)
