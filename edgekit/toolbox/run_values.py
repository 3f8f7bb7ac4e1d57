"""Runs a built model inside its engine's toolbox and tells what each of its tensors holds.

Started by ``edgekit.toolbox.twins``, which takes :func:`figures` from here; standard library and
NumPy only. The engine's ``values.py`` does the running.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def figures(values: "NDArray[Any]") -> list[float] | None:
    """Return what tells a tensor from others in whatever order it lies in memory.

    Size, largest magnitude, and four moments; ``None`` for what is not float or has no spread.
    """
    import numpy as np

    if values.dtype.kind != "f" or not values.size:
        return None
    wide = values.astype(np.float64).ravel()
    largest = float(np.abs(wide).max())
    if not np.isfinite(largest) or largest == 0:
        return None
    scaled = wide / largest
    moments = (scaled, np.abs(scaled), scaled**2, scaled**3)
    return [float(values.size), largest, *(float(each.mean()) for each in moments)]


def main() -> int:
    """Do what the job on the command line says; write ``values.json`` beside it."""
    import numpy as np

    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    module = _load(Path(job["script"]))
    with np.load(job["inputs"], allow_pickle=False) as loaded:
        inputs = {name: loaded[name] for name in loaded.files}
    found = {name: figures(held) for name, held in module.values(Path(job["folder"]), inputs)}
    text = json.dumps({name: held for name, held in found.items() if held is not None})
    path.with_name("values.json").write_text(text, encoding="utf-8")
    return 0


def _load(script: Path) -> Any:  # noqa: ANN401 - a module
    # As a package of its own: it finds its neighbours.
    spec = importlib.util.spec_from_file_location(
        "edgekit_values", script, submodule_search_locations=[str(script.parent)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
