"""What each float tensor of a built file holds, under LiteRT on the host. Runs in the toolbox."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import build_int8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray


def values(
    folder: Path, inputs: "Mapping[str, NDArray[Any]]"
) -> "Iterator[tuple[str, NDArray[Any]]]":
    """Give the file's inputs and all that its operators make, by the names of its tensors."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "model.tflite"
    tensors = json.loads((folder / "tensors.json").read_text(encoding="utf-8"))
    names = [detail["name"] for detail in Interpreter(str(path)).get_input_details()]
    feeds = {
        names[item["place"]]: np.ascontiguousarray(inputs[item["name"]].transpose(item["axes"]))
        for item in tensors["inputs"]
    }
    yield from build_int8.Observer(path).values(feeds).items()
