"""Named steps that turn a frame into tensors, and tensors into answers.

A step is made once from its parameters (JSON of a recipe or manifest) and then called for each
frame; a made step holds no state that changes, so it may be called from many threads::

    preprocess = PREPROCESS["letterbox"]({"size": [640, 640]})
    postprocess = POSTPROCESS["yolov5"]({"size": [640, 640]})
    tensors = preprocess(frame)  # frame: uint8[H, W, 3], RGB
    answers = postprocess(outputs, frame.shape)  # outputs: name -> ndarray

Image steps and both YOLOv5 steps are made in C where ``edgekit.onboard.native`` has taken up a
library; NumPy is the reference and gives the same.

A factory raises ``ValueError`` for a parameter that is missing, unknown or of the wrong kind.
The postprocess works out by itself, from the frame's shape and its own ``size`` and ``fit``, how
the frame was placed on the model's input: give it the same values as the preprocess step.

Preprocess, image steps (``letterbox``: ``fit`` is ``letterbox``; ``resize``: ``fit`` may be
chosen). ``frame`` is ``uint8[H, W, 3]`` in RGB, the answer ``{input: float32[1, 3, h, w]}``:

============== ============================== ================================================
parameter      default                        meaning
============== ============================== ================================================
``size``       (required)                     ``[h, w]`` of the model's input, pixels
``input``      ``"images"``                   name of the model's input
``fit``        ``stretch`` (``resize`` only)  ``stretch`` (both axes apart), ``letterbox``
                                              (aspect kept, centred), ``pad`` (aspect kept, in
                                              the top left corner), ``crop`` (centre crop)
``upscale``    ``true``                       ``letterbox``, ``pad``: may small frames grow
``crop_ratio`` ``0.875``                      ``crop``: crop edge / resized short edge
``pad_value``  ``114``                        grey level around the frame
``scale``      ``1/255``                      value = (grey level * scale - mean) / std
``mean``       ``0``                          a number, or one for each channel as fed
``std``        ``1``                          a number, or one for each channel as fed
``channels``   ``"RGB"``                      order in which channels are fed: ``RGB``, ``BGR``
``layout``     ``"NCHW"``                     ``NCHW`` or ``NHWC``
``block``      ``1``                          space to depth: each ``block`` x ``block`` pixels
                                              become one of ``3 * block * block`` channels, that
                                              of ``dy, dx, c`` being ``(dy * block + dx) * 3 + c``
``quantise``   (none: ``float32``)            ``{"dtype": "int8" or "uint8", "scale": s,
                                              "zero_point": z}``: integer = value / s + z,
                                              rounded half to even and clipped
============== ============================== ================================================

``tensor`` takes no parameters; its frame is a mapping of names to arrays and passes unchanged.

Postprocess ``(outputs, frame_shape) -> answers``; answers are plain lists for JSON:

``yolov5``
    The whole graph's ``float32[1, N, 5 + C]`` -> ``[x0, y0, x1, y1, score, class]`` per object,
    in frame pixels, by falling score. ``size`` (required), ``fit`` (``letterbox``), ``upscale``,
    ``output`` (needed only where the model has several), ``score_threshold`` (0.25),
    ``iou_threshold`` (0.45), ``max_detections`` (300), ``multi_label`` (``false``: each
    candidate has its best class; ``true``: every class above the threshold, for mAP).
``yolov5-heads``
    The same from raw heads ``float32[1, A * (5 + C), h, w]``, matched to ``strides`` by their
    grid; heads may be :class:`~edgekit.onboard.arrays.Quantised`. Also ``anchors`` (required; one
    flat list of ``w, h`` pixels for each stride) and ``strides`` (``[8, 16, 32]``).
``classify``
    ``float32[1, C]`` -> ``[class, score]`` for the ``top_k`` (5) best, by falling score.
    ``softmax`` (``false``) turns logits into probabilities. ``output``.
``db``
    A text probability map ``float32[1, 1, h, w]`` -> boxes as for ``yolov5`` with class 0.
    ``size``, ``fit`` (``stretch``), ``upscale``, ``threshold`` (0.3), ``box_threshold`` (0.6),
    ``unclip_ratio`` (1.5), ``min_size`` (3 pixels), ``max_candidates`` (1000), ``output``.
``ctc``
    ``float32[1, T, K]`` -> ``[[text, score]]``. ``charset`` (the characters of classes 1.. as a
    list; one missing at the end is the space; without a charset the text is the class numbers),
    ``blank`` (0), ``softmax`` (``false``), ``output``.
``tensor``
    No answers.
"""

from typing import Any, Callable, Dict, Mapping

from edgekit.onboard.arrays import Postprocess, Preprocess
from edgekit.onboard.steps.classify import classify
from edgekit.onboard.steps.detect import yolov5, yolov5_heads
from edgekit.onboard.steps.images import IMAGE_INPUT, letterbox, resize
from edgekit.onboard.steps.tensor import no_answers, pass_through
from edgekit.onboard.steps.text import ctc, db

PREPROCESS: Dict[str, Callable[[Mapping[str, Any]], Preprocess]] = {
    "letterbox": letterbox,
    "resize": resize,
    "tensor": pass_through,
}

# These make their tensor in any form by themselves.
IMAGE_STEPS = ("letterbox", "resize")

POSTPROCESS: Dict[str, Callable[[Mapping[str, Any]], Postprocess]] = {
    "yolov5": yolov5,
    "yolov5-heads": yolov5_heads,
    "classify": classify,
    "db": db,
    "ctc": ctc,
    "tensor": no_answers,
}

# These read outputs as an engine leaves them; the others are given floats.
TAKES_QUANTISED = ("yolov5-heads",)

__all__ = ["IMAGE_INPUT", "IMAGE_STEPS", "POSTPROCESS", "PREPROCESS", "TAKES_QUANTISED"]
