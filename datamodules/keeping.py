"""What was read or drawn once and is asked for in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Kept = TypeVar("Kept")


class Keep:
    """Results by key, as long as all of them take no more than so many bytes; the first ones stay.

    What is pickled is empty: workers must not be sent what they can make themselves. A forked worker begins with what
    its parent has, and keeps what it makes as long as it lives, which is an epoch unless workers are persistent.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = 2**27) -> None:
        self.most, self.size = most, 0
        self._kept: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Kept], size: Callable[[Kept], int]) -> Kept:
        """Return what is kept, or make it; whoever gets it must not change it.

        Args:
            key: what it is.
            make: makes it.
            size: of what was made, in bytes.
        """
        if key in self._kept:
            found: Kept = self._kept[key]
            return found
        made = make()
        if (more := self.size + size(made)) <= self.most:
            self._kept[key], self.size = made, more
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {"most": self.most, "size": 0, "_kept": {}}
