"""Previews of one colour, and what the live page drew of them."""

import base64

import cv2
import numpy as np

WIDE = 320  # a picture, in pixels
GREY = (90, 90, 90)
BOX = [100.0, 60.0, 220.0, 140.0, 0.9, 1.0]


def drawn(tab):
    """A function that tells the colour on the canvas where the preview has a pixel."""
    packed = tab.execute_script("return document.getElementById('picture').toDataURL('image/png')")
    data = np.frombuffer(base64.b64decode(packed.partition(",")[2]), np.uint8)
    canvas = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    scale = canvas.shape[1] / WIDE

    def pixel(x, y):
        return tuple(map(int, canvas[round(y * scale), round(x * scale)]))

    return pixel


def flat_preview(number=1, answers=(BOX,), colour=GREY):
    """A picture of one colour, losslessly packed."""
    _, packed = cv2.imencode(".png", np.full((180, WIDE, 3), colour[::-1], np.uint8))
    return {
        "event": "camera",
        "phase": "preview",
        "number": number,
        "width": WIDE,
        "height": 180,
        "format": "png",
        "data": base64.b64encode(packed).decode(),
        "answers": list(answers),
    }
