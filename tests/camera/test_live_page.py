"""The live page in a real browser: what it shows, and how it looks."""

import base64

import pytest
from browser import rows, shows, text, until
from preview_pictures import BOX, GREY, drawn, flat_preview

from edgekit.camera.page import LivePage
from edgekit.core.camera import STAGES

pytestmark = pytest.mark.slow

UNKNOWN = "\N{EN DASH}"
CONTRAST = """
const luminance = (colour) => colour.match(/\\d+/g).slice(0, 3).map((level) => level / 255)
  .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
const ground = luminance(getComputedStyle(document.querySelector("section")).backgroundColor);
return [...document.querySelectorAll("h1, h2, p, th, td, dt, dd, span")].map((each) => {
  const [dark, light] = [ground, luminance(getComputedStyle(each).color)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
});
"""


def test_figures_are_those_of_the_last_second(tab, page, camera):
    page.take(camera.second())
    page.take(camera.second(latency_ms=81.6, fps=19.0, lost=4))
    page.take({"phase": "power", "watts": 4.256, "temperature_c": 61.4})
    tab.get(page.url)
    shows(tab, "state", "Live")
    assert tab.title == text(tab, "title") == "shapes on rk3566"
    shown = [text(tab, name) for name in ("fps-in", "fps-out", "latency", "watts", "temperature")]
    assert shown == ["30.0", "19.0", "82", "4.26", "61"]
    page.take(camera.second(latency_ms=7.25, fps=20.5))
    shows(tab, "latency", "7.3")
    assert text(tab, "fps-out") == "20.5"
    assert not tab.find_element("id", "emulated").is_displayed()
    assert not tab.find_element("id", "bundle").is_displayed()


def test_what_is_not_known_is_not_shown_as_a_number(tab, page, camera):
    idle = {"decode": {"busy": 0.0, "ms": None, "depth": 0}}
    page.take(camera.second(fps=21.0, latency_ms=None, stages=idle))
    tab.get(page.url)
    shows(tab, "fps-out", "21.0")
    assert text(tab, "fps-in") == text(tab, "latency") == UNKNOWN
    assert rows(tab, "stages") == [["decode", "", "0 %", UNKNOWN, "0"]]
    assert not tab.find_element("id", "watts-figure").is_displayed()
    assert not tab.find_element("id", "temperature-figure").is_displayed()
    page.take({"phase": "power", "watts": None, "temperature_c": 48.0})
    shows(tab, "temperature", "48")
    assert not tab.find_element("id", "watts-figure").is_displayed()


def test_stage_bars_are_as_wide_as_the_stage_is_busy(tab, page, camera):
    busy = dict(zip(STAGES, [0.25, 0.5, 0.97, 1.2, 0.0], strict=True))
    stages = {name: {"busy": share, "ms": 12.34, "depth": 2} for name, share in busy.items()}
    page.take(camera.second(stages=stages))
    tab.get(page.url)
    shows(tab, "state", "Live")
    bars = tab.find_elements("css selector", "#stages [role=meter]")
    assert [bar.accessible_name for bar in bars] == [f"{name} busy" for name in STAGES]
    assert [bar.get_attribute("aria-valuenow") for bar in bars] == ["25", "50", "97", "100", "0"]
    widths = [(bar.size["width"], bar.find_element("class name", "fill").size) for bar in bars]
    shares = [fill["width"] / whole for whole, fill in widths]
    assert shares == pytest.approx([0.25, 0.5, 0.97, 1.0, 0.0], abs=0.02)
    colours = [bar.find_element("class name", "fill") for bar in bars]
    colours = [fill.value_of_css_property("background-color") for fill in colours]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert rows(tab, "stages")[2] == ["inference", "", "97 %", "12 ms", "2"]


def test_every_frame_is_accounted_for_with_its_cause(tab, page, camera):
    dropped = {
        "inference": {"latest": 8, "memory": 1},
        "decode": {"corrupt": 2},
        "sink": {"odd": 3},
    }
    page.take(camera.second(captured=44, delivered=30, dropped=dropped, lost=5))
    tab.get(page.url)
    shows(tab, "captured", "44")
    totals = [text(tab, name) for name in ("delivered", "dropped", "lost")]
    assert totals == ["30", "14", "5"]
    assert rows(tab, "causes") == [
        ["decode: corrupt", "2"],
        ["inference: a newer frame came", "8"],
        ["inference: memory limit", "1"],
        ["sink: odd", "3"],
    ]


def test_box_is_drawn_where_it_is(tab, page):
    page.take(flat_preview(7))
    tab.get(page.url)
    shows(tab, "seen", "Frame 7: square")

    pixel = drawn(tab)
    x0, y0, x1, y1 = BOX[:4]
    edge = pixel(x1, 100)
    assert max(edge) - min(edge) > 100  # a colour, not a grey
    assert pixel(x0, 110) == pixel(150, y1) == pixel(x1, 130) == edge
    assert pixel(160, 110) == pixel(260, 110) == GREY
    label = [pixel(x, y0 - 4) for x in range(int(x0), int(x0) + 40)]
    assert edge in label
    assert any(sum(each) < 100 for each in label)  # its words, in black
    canvas = tab.find_element("id", "picture")
    assert canvas.aria_role == "image"
    assert canvas.accessible_name == "Preview of frame 7: square"
    assert canvas.size["width"] > 400


def test_picture_follows_the_last_preview_and_the_window(tab, page):
    tab.get(page.url)
    for number in range(20):
        page.take(flat_preview(number, [], (10 * number, 0, 200)))
    shows(tab, "seen", "Frame 19: nothing found")
    assert drawn(tab)(10, 10) == (190, 0, 200)
    wide = tab.execute_script("return document.getElementById('picture').width")
    tab.set_window_size(520, 700)
    shape = "const c = document.getElementById('picture'); return [c.width, c.clientWidth]"
    until(tab, lambda: len(set(tab.execute_script(shape))) == 1)
    assert tab.execute_script(shape)[0] != wide
    assert drawn(tab)(310, 170) == (190, 0, 200)


def test_objects_of_a_class_are_counted(tab, page):
    page.take(flat_preview(2, [BOX, [1, 2, 3, 4, 0.5, 3], BOX, [1, 2, 3, 4, 0.5, 77]]))
    tab.get(page.url)
    shows(tab, "seen", "Frame 2: 2 \N{MULTIPLICATION SIGN} square, star, class 77")


def test_answers_that_are_no_boxes_are_told(tab, page):
    page.take(flat_preview(3, [[3, 0.75], ["ABC-12", 0.5]]))
    tab.get(page.url)
    shows(tab, "seen", "Frame 3: star 75 %, ABC-12 50 %")


def test_picture_that_cannot_be_read_is_told_and_the_next_one_shown(tab, page):
    tab.get(page.url)
    page.take({**flat_preview(8), "data": base64.b64encode(b"no picture at all").decode()})
    shows(tab, "seen", "The picture of frame 8 cannot be read")
    page.take(flat_preview(9))
    shows(tab, "seen", "Frame 9: square")


def test_last_minute_is_drawn_with_its_gaps(tab, page, camera):
    for number in range(70):
        page.take(camera.away_second("unplugged") if 40 <= number < 45 else camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    paths = {
        name: tab.find_element("css selector", f"#{place} path.{name}").get_attribute("d")
        for place, name in (("fps-lines", "in"), ("fps-lines", "out"), ("latency-lines", "latency"))
    }
    drawn = {
        name: (path.count("M"), path.count("M") + path.count("L")) for name, path in paths.items()
    }
    assert drawn == {"in": (1, 61), "out": (1, 61), "latency": (2, 56)}
    assert paths["out"].startswith("M0.0 ")
    assert paths["out"].rpartition("L")[2].startswith("600.0 ")
    assert len(tab.find_elements("css selector", "#fps-lines rect")) == 5
    words = tab.find_element("id", "fps-lines").accessible_name
    assert words.startswith("fps in: 0.0 to 30.0; fps out: 0.0 to ")
    assert words.endswith("over 61 seconds")


def test_emulated_device_is_told_plainly(tab, camera):
    with LivePage(title="virtual", emulated=True) as page:
        page.take(camera.second())
        tab.get(page.url)
        shows(tab, "state", "Live")
        assert text(tab, "emulated") == "Emulated: times are not a board's."
        style = "return getComputedStyle(document.getElementById(arguments[0]), '::after').content"
        for heading in ("figures-title", "stages-title", "minute-title"):
            assert "emulated" in tab.execute_script(style, heading)


def test_bundle_is_named_where_there_are_several(tab, camera):
    with LivePage(bundles=("yolov5s int8", "yolov5n int8")) as page:
        page.take(camera.second())
        tab.get(page.url)
        shows(tab, "bundle", "yolov5s int8 (1 of 2)")
        page.take(camera.second(bundle=1))
        shows(tab, "bundle", "yolov5n int8 (2 of 2)")


@pytest.mark.parametrize("width", [1600, 1000, 760, 520])
def test_nothing_sticks_out_of_the_window(tab, page, camera, width):
    page.take(camera.second(dropped={"postprocess": {"a-cause-with-a-very-long-name-" * 4: 1234}}))
    page.take(camera.preview())
    tab.set_window_size(width, 700)
    tab.get(page.url)
    until(tab, lambda: text(tab, "seen").startswith("Frame"))
    inside = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    needed, there = tab.execute_script(inside)
    assert needed <= there
    sections = [each.rect for each in tab.find_elements("css selector", "section")]
    assert all(rect["x"] >= 0 and rect["x"] + rect["width"] <= there for rect in sections)
    sides = {rect["x"] for rect in sections}
    assert len(sides) == (2 if width >= 760 else 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_ground_by_day_and_by_night(tab, page, camera, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.take(camera.second())
    page.take({"phase": "power", "watts": 4, "temperature_c": 50})
    tab.get(page.url)
    shows(tab, "state", "Live")
    ground = tab.find_element("tag name", "body").value_of_css_property("background-color")
    levels = [int(level) for level in ground.partition("(")[2].rstrip(")").split(",")[:3]]
    assert (sum(levels) > 600) if scheme == "light" else (sum(levels) < 100)
    contrasts = tab.execute_script(CONTRAST)
    assert len(contrasts) > 40
    assert min(contrasts) >= 4.5  # Source: WCAG 2.2, 1.4.3 Contrast (Minimum)


def test_parts_of_the_page_have_names(tab, page, camera):
    page.take(camera.second())
    tab.get(page.url)
    shows(tab, "state", "Live")
    assert tab.find_element("id", "state").aria_role == "status"
    sections = tab.find_elements("css selector", "section")
    names = [(each.aria_role, each.accessible_name) for each in sections]
    assert names == [
        ("region", name)
        for name in ("Preview", "The last minute", "Now", "Stages", "Frames since the start")
    ]
    for line in tab.find_elements("css selector", ".lines"):
        assert line.aria_role == "image"
        assert "seconds" in line.accessible_name
