"""What is closed when its ``with`` ends."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """A class with ``close`` that can stand in a ``with``: it is closed however that ends.

    Example:
        ``with Records(path) as records: ...``
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held."""


__all__ = ["Closing"]
