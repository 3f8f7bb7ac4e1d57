"""Make docs/images/camera-watch.png: the live page of a real run, in a real browser.

    .venv/bin/python scripts/screenshot_camera_page.py

`edgekit camera watch` runs the demo model on this machine, on a video of drawn shapes at twelve
frames a second. What the picture shows of times is this machine's.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import cv2  # noqa: E402
from browser import missing, open_browser  # noqa: E402

from edgekit.prepare.shapes import draw_scene  # noqa: E402

FILE = ROOT / "docs" / "images" / "camera-watch.png"
WIDTH, HEIGHT = 1000, 600
SECONDS, FPS, EACH = 90, 12, 12
SEEN_S = 62  # until the last minute is whole
PATIENCE_S = 300


def main() -> int:
    lacking = missing()
    if lacking:
        print(lacking, file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = drawn(folder / "shapes.avi")
        options = ("--target", "local", "--source", str(video), "--fps", str(FPS), "--no-browser")
        watching = subprocess.Popen(
            [sys.executable, "-m", "edgekit", "camera", "watch", "shapes", *options],
            env={**os.environ, "PYTHONPATH": str(ROOT), "EDGEKIT_RUNS_DIR": str(folder / "runs")},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            shoot(address(watching), folder)
        finally:
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=PATIENCE_S)
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size} bytes")
    return 0


def drawn(path: Path) -> Path:
    """Write scenes into a video, a second each."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (640, 480))
    for index in range(SECONDS * FPS // EACH):
        scene = draw_scene(7, index, height=480, width=640)
        for _repeat in range(EACH):
            writer.write(scene.frame[..., ::-1].copy())
    writer.release()
    return path


def address(watching: subprocess.Popen[str]) -> str:
    """Wait until the command says where its page is."""
    for line in watching.stderr or ():
        found = re.search(r"http://127\.0\.0\.1:\S+", line)
        if found:
            return found[0]
    raise SystemExit("the command ended without a page")


def shoot(url: str, folder: Path) -> None:
    """Open the page, wait for a minute of the run, and take its picture."""
    with open_browser(folder / "profile", WIDTH, HEIGHT) as browser:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(url)
        deadline = time.monotonic() + PATIENCE_S
        while not browser.find_element("id", "seen").text.startswith("Frame"):
            if time.monotonic() > deadline:
                raise SystemExit("the page shows no picture")
            time.sleep(0.1)
        time.sleep(SEEN_S)
        FILE.parent.mkdir(exist_ok=True)
        browser.save_screenshot(str(FILE))


if __name__ == "__main__":
    sys.exit(main())
