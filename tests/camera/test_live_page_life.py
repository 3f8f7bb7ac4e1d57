"""The live page in a real browser: tabs that come and go, links that break, runs that end."""

import time

import pytest
from browser import complaints, requested, shows, text, until
from preview_pictures import BOX, flat_preview

from edgekit.camera.page import LivePage

pytestmark = pytest.mark.slow

# A page's own words on what went through its status since they were asked for.
WATCH_STATE = """
window.said = [];
new MutationObserver(() => window.said.push(document.getElementById("state").textContent))
  .observe(document.getElementById("state"), {childList: true, characterData: true, subtree: true});
"""


def test_camera_that_is_away_is_told_until_it_is_back(tab, page, camera):
    page.take(camera.second())
    page.take(camera.away_second("/dev/video0: no such device"))
    tab.get(page.url)
    shows(tab, "state", "The camera is away")
    notice = tab.find_element("id", "away")
    assert notice.aria_role == "alert"
    assert "/dev/video0: no such device" in notice.text
    assert text(tab, "fps-in") == "0.0"
    page.take(camera.second())
    shows(tab, "state", "Live")
    assert not notice.is_displayed()


def test_two_tabs_show_the_same_and_the_later_one_its_past(tab, page, camera):
    for _ in range(10):
        page.take(camera.second())
    tab.get(page.url)
    shows(tab, "captured", "300")
    first = tab.current_window_handle
    tab.switch_to.new_window("window")
    tab.get(page.url)
    shows(tab, "captured", "300")
    assert "over 10 seconds" in tab.find_element("id", "fps-lines").accessible_name
    assert page.tabs == 2
    page.take(camera.second())
    for handle in (tab.current_window_handle, first):
        tab.switch_to.window(handle)
        shows(tab, "captured", "330")
        assert complaints(tab) == []


def test_tab_comes_back_after_its_connection_was_cut(tab, page, camera):
    page.take(camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    tab.execute_script(WATCH_STATE)
    page._server.cut()
    page.take(camera.second())
    shows(tab, "captured", "60")
    shows(tab, "state", "Live")
    assert "No connection to edgekit; trying again" in tab.execute_script("return window.said")
    assert "over 2 seconds" in tab.find_element("id", "fps-lines").accessible_name
    page.take(camera.second())
    shows(tab, "captured", "90")
    until(tab, lambda: page.tabs == 1)
    complaints(tab)  # that the connection broke


def test_tab_says_that_edgekit_is_gone_and_goes_on_trying(tab, camera):
    with LivePage() as page:
        page.take(camera.second())
        tab.get(page.url)
        shows(tab, "state", "Live")
        page._server.shutdown()  # as if it had been killed: without a word
        page._server.end()
        shows(tab, "state", "No connection to edgekit; trying again")
        time.sleep(2)
        assert text(tab, "state") == "No connection to edgekit; trying again"
    complaints(tab)  # that nobody is there


def test_end_is_told_and_nothing_asked_for_afterwards(tab, camera):
    page = LivePage()
    page.take(camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    page.take({"phase": "ended", "why": "30 s are over"})
    shows(tab, "state", "Ended: 30 s are over")
    page.take(camera.second())  # one that was still on its way
    shows(tab, "captured", "60")
    requested(tab)
    page.close()
    time.sleep(2)
    assert text(tab, "state") == "Ended: 30 s are over"
    assert requested(tab) == []


def test_link_that_is_gone_is_told_until_it_is_back(tab, page, camera):
    page.take(camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    page.take({"phase": "gone", "why": "pi@board does not answer"})
    shows(tab, "state", "The link to the device is gone: pi@board does not answer")
    page.take(camera.second())
    shows(tab, "state", "Live")


def test_silence_is_told(tab, page, camera):
    tab.get(page.url)
    shows(tab, "state", "Waiting for the first second")
    page.take(camera.second())
    shows(tab, "state", "Live")
    ahead = "const now = performance.now.bind(performance); performance.now = () => now() + 42000;"
    tab.execute_script(ahead)
    until(tab, lambda: text(tab, "state").startswith("No news from the device for 4"))
    page.take(camera.second())
    shows(tab, "state", "Live")


def test_tab_that_nobody_sees_gives_its_connection_back(tab, page, camera):
    page.take(camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    turn = """
    Object.defineProperty(document, "visibilityState", {value: arguments[0], configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
    """
    tab.execute_script(turn, "hidden")

    def gone():
        page.take(camera.second())  # a stream that nobody reads is noticed when it is written to
        return page.tabs == 0

    until(tab, gone)
    captured = str(camera.captured)
    assert text(tab, "captured") != captured
    tab.execute_script(turn, "visible")
    shows(tab, "captured", captured)
    assert page.tabs == 1


def test_texts_of_the_device_are_never_markup(tab, camera):
    evil = "<img src=x onerror=document.title='owned'><script>1</script>"
    with LivePage(title=evil, classes=(evil, evil), bundles=(evil, evil)) as page:
        page.take(camera.away_second(evil) | {"stages": {evil: {"busy": 1, "ms": 1, "depth": 1}}})
        page.take(camera.away_second(evil) | {"dropped": {evil: {evil: 3}}})
        page.take(flat_preview(1, [BOX, [evil, 0.5]]))
        tab.get(page.url)
        shows(tab, "title", evil)
        assert evil in text(tab, "away")
        assert evil in text(tab, "causes")
        until(tab, lambda: evil in text(tab, "seen"))
        assert tab.find_elements("css selector", "img, body script") == []
        assert tab.title == evil


def test_page_asks_nobody_else_for_anything(tab, page, camera):
    page.take(camera.second())
    page.take(camera.preview())
    tab.get(page.url)
    until(tab, lambda: text(tab, "seen").startswith("Frame"))
    asked = {each for each in requested(tab) if not each.startswith("data:image/")}
    files = ("", "page.css", "page.js", "picture.js", "lines.js", "events")
    assert asked == {page.url + name for name in files}
