"""Which operators each engine has: data beside each engine, ``operators.txt``.

The lists are made by ``scripts/list_operators.py`` from the engines themselves.
"""

from functools import cache
from pathlib import Path

from edgekit.core.contracts import Unsupported
from edgekit.core.model import Model
from edgekit.engines import engine_names

_FOLDER = Path(__file__).parent


@cache
def operators_of(engine: str) -> frozenset[str]:
    """Return the operators of ONNX's default domain that an engine has."""
    text = (_FOLDER / engine / "operators.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def _for_any_board(engine: str) -> bool:
    """Tell whether the list says nothing of the hardware that the engine is made for."""
    text = (_FOLDER / engine / "operators.txt").read_text(encoding="utf-8")
    return "\n# hardware:" not in text


def lacking(model: Model, engine: str) -> Unsupported | None:
    """Tell which of the model's operators ``engine`` lacks, and who has them."""
    missing = [name for name in model.operators if name not in operators_of(engine)]
    if not missing:
        return None
    having = [
        other
        for other in engine_names()
        if other != engine and _for_any_board(other) and operators_of(other).issuperset(missing)
    ]
    plural = "s" if len(missing) > 1 else ""
    return Unsupported(
        f"{engine} has no operator{plural} {', '.join(missing)}",
        hint=f"{' and '.join(having)} can: --engine {','.join(having)}"
        if having
        else "no engine here has it; export the model without it",
    )
