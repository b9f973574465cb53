"""The examples in docstrings do what they say."""

import doctest
import pkgutil
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SETTINGS = Path(__file__).parents[1] / "pyproject.toml"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> Iterator[ModuleType]:
    """Yield every module under the name that users import, which is not its place in the repository."""
    for name in tomllib.loads(SETTINGS.read_text())["tool"]["setuptools"]["packages"]:
        package = import_module(name)
        yield package
        for found in pkgutil.iter_modules(package.__path__, f"{name}."):
            if not found.ispkg:
                yield import_module(found.name)


def examples() -> list[doctest.DocTest]:
    """Return the docstrings that have examples."""
    finder = doctest.DocTestFinder()
    return [test for module in modules() for test in finder.find(module, module.__name__) if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_example(
    example: doctest.DocTest, request: pytest.FixtureRequest, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    example.globs["getfixture"] = request.getfixturevalue
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert result.failed == 0, "".join(report)
