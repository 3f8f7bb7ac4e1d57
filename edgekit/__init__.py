"""edgekit: put a trained model on an ARM board, measure it there, keep the winner.

The rooms of the house and who may import whom stand in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
