"""What goes wrong with input, said in one line."""

from __future__ import annotations

import math
from os import PathLike


class DataError(ValueError):
    """A file is not what was expected.

    Args:
        path: the file.
        key: where in the file: a data set, an attribute, "file" for the file as a whole.
        expected: what should be there.
        found: what is there.
    """

    def __init__(self, path: str | PathLike[str], key: str, expected: str, found: str) -> None:
        line = f"{path}: {key}: expected {expected}, found {found}"
        # what libraries report may have several lines
        super().__init__(" ".join(line.split()))
        self.path, self.key, self.expected, self.found = path, key, expected, found

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, str, str]]:
        """Pickle by the four arguments: a loader's worker sends the error to the main process."""
        return DataError, (str(self.path), self.key, self.expected, self.found)


def check_ranges(**settings: tuple[float, float, float]) -> None:
    """Refuse settings outside of their range.

    Args:
        settings: by name: the value, the least and the largest that it may have.

    Raises:
        ValueError: the message names the setting, what was expected and what was found.
    """
    for name, (value, least, most) in settings.items():
        if value is None or not least <= value <= most:  # a configuration's null reaches every setting
            limit = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            raise ValueError(f"{name} is {value}, expected {limit}")


class DivergenceError(RuntimeError):
    """Training met a loss or a gradient that is not finite."""


class ConvergenceError(ValueError):
    """An iteration did not reach its tolerance, or a simulation left the finite numbers: other settings are needed."""


class MissingPackageError(ImportError):
    """An optional package is needed and not installed.

    Args:
        package: what is missing.
        extra: of ours, that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'cst-lightning[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type[MissingPackageError], tuple[str, str]]:
        """Pickle by the two arguments: a loader's worker sends the error to the main process."""
        return MissingPackageError, (self.package, self.extra)
