"""Make docs/images/camera-watch.png: the live page with a simulated run, in a real browser.

    .venv/bin/python scripts/screenshot_camera_page.py

What it shows is made up by tests/simulated_camera.py, and its title says so.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser import missing, open_browser  # noqa: E402
from simulated_camera import CLASSES, SimulatedCamera  # noqa: E402

from edgekit.camera.page import LivePage  # noqa: E402

FILE = ROOT / "docs" / "images" / "camera-watch.png"
WIDTH, HEIGHT = 1000, 600
SCENE = 2
AWAY = range(22, 26)
LOST = 3
PATIENCE_S = 30


def main() -> int:
    lacking = missing()
    if lacking:
        print(lacking, file=sys.stderr)
        return 3
    with (
        LivePage(title="shapes on a board (simulated)", classes=CLASSES) as page,
        tempfile.TemporaryDirectory() as folder,
        open_browser(Path(folder) / "profile", WIDTH, HEIGHT) as browser,
    ):
        feed(page)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.url)
        deadline = time.monotonic() + PATIENCE_S
        while not browser.find_element("id", "seen").text.startswith("Frame"):
            if time.monotonic() > deadline:
                print("the page shows no picture", file=sys.stderr)
                return 1
            time.sleep(0.1)
        FILE.parent.mkdir(exist_ok=True)
        browser.save_screenshot(str(FILE))
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size} bytes")
    return 0


def feed(page: LivePage) -> None:
    """A minute in which the camera was away for a while."""
    camera = SimulatedCamera()
    for number in range(58):
        if number in AWAY:
            page.take(camera.away_second("unplugged"))
        else:
            page.take(camera.second(lost=LOST if number > AWAY.stop else 0))
    page.take(camera.preview(index=SCENE))
    page.take(camera.power())


if __name__ == "__main__":
    sys.exit(main())
