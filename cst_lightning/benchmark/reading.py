"""From a YAML file to a `Protocol`, or one line that says what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import yaml

from cst_lightning.benchmark.protocol import SIZES, Budget, Protocol, Scored, Size, Sweep, Unit, merged
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.usage import UsageError, one_line

_KEYS = ("name", "about", "data", "methods", "seeds", "budget", "scores", "trainer", "sizes", "sweep", "task", "panels")
_NEEDED = ("name", "data", "methods", "scores")
_METHOD = ("like", "interpolation", "model", "trainer", "data")
# What is learned from and in which unit is scored; that all see the same observations is found out by looking.
_SHARED = ("supervision", "dense_points", "rescale")
# A method that sets one of these would have another budget than the others, or would write files.
_OURS = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps", "logger", "enable_checkpointing")


def read(path: Path, size: Size = "default") -> Protocol:
    """Read a comparison.

    Args:
        path: the YAML file.
        size: which of its sizes; `default` is the file as it stands unless it says otherwise.

    Raises:
        DataError: there is no such file.
        UsageError: it says something that does not exist; one line with file and key.
    """
    check_file(path)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected YAML: {one_line(str(error))}") from error
    check = _Check(path)
    given = check.mapping("", found, _KEYS)
    sizes = check.mapping("sizes", given.pop("sizes", {}), SIZES)
    if size == "paper" and "paper" not in sizes:
        raise UsageError(f"{path}: sizes: expected paper, found {', '.join(sizes) or 'none'}")
    wholes = {}
    for one in dict.fromkeys(("default", size)):  # what a size replaces would not be looked at
        own = check.mapping(
            f"sizes.{one}", sizes.get(one) or {}, [key for key in _KEYS if key not in ("name", "sizes")]
        )
        whole = merged(given, own)
        for key in _NEEDED:
            if not whole.get(key):
                raise check.error(key, "it to be given", "nothing")
        wholes[one] = check.protocol(whole, one)
    return wholes[size]


class _Check:
    """Turns plain YAML into a `Protocol`, or says in one line what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, key: str, expected: str, found: object) -> UsageError:
        shown = found if isinstance(found, str) else json.dumps(found, default=str)
        return UsageError(f"{self.path}: {key}: expected {expected}, found {shown}")

    def mapping(self, key: str, found: object, known: tuple[str, ...] | list[str] | None = None) -> dict[str, Any]:
        """Return a mapping whose keys are all known."""
        if not isinstance(found, Mapping):
            raise self.error(key or "file", "keys and values", found)
        for name in found:
            if not isinstance(name, str):
                raise self.error(key or "file", "words as keys", name)
            if known is not None and name not in known:
                place = f"{key}.{name}" if key else str(name)
                near = get_close_matches(str(name), known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise UsageError(f"{self.path}: unknown key {place}{hint}")
        return dict(cast(Mapping[str, Any], found))

    def protocol(self, given: Mapping[str, Any], size: Size) -> Protocol:
        methods = self._methods(given["methods"])
        trainer = self._trainer("trainer", given.get("trainer", {}))
        budget = self._budget("budget", given.get("budget"))
        learned = [name for name, method in methods.items() if "model" in method]
        if learned and budget is None:
            raise self.error("budget", f"{{seconds: n}} or {{steps: n}}, because {learned[0]} is trained", "nothing")
        data = self._class("data", given["data"])
        scores = self._names("scores", given["scores"])
        sweep = self._sweep(given.get("sweep"), methods)
        if sweep is not None and sweep.key.startswith("budget."):
            for value in sweep.values:
                self._budget("sweep.values", {sweep.key.removeprefix("budget."): value})
        task = self._task(given.get("task", "values"), methods, sweep)
        if Path(str(given["name"])).name != str(given["name"]):
            raise self.error("name", "a name without a path", str(given["name"]))
        about = " ".join(str(given.get("about", "")).split())
        return Protocol(
            str(given["name"]), size, about, data, methods, self._seeds(given.get("seeds", [0])), budget, scores,
            trainer, sweep, task, self._panels(given.get("panels"), methods, sweep),
        )  # fmt: skip

    def _methods(self, found: object) -> dict[str, dict[str, Any]]:
        given = {name: m for name, m in self.mapping("methods", found).items() if m is not None}
        methods = {str(name): self._method(str(name), given, ()) for name in given}
        if not methods:
            raise self.error("methods", "at least one", "none")
        return methods

    def _method(self, name: str, given: Mapping[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        """Return one method with what it takes over from others, which may be left out of the table themselves."""
        key = f"methods.{name}"
        if name not in given or name in above:
            raise self.error(f"methods.{above[-1]}.like", "another method", name)
        method = self.mapping(key, given[name], _METHOD)
        if "like" in method:
            method = merged(self._method(str(method.pop("like")), given, (*above, name)), method)
        if ("interpolation" in method) == ("model" in method):
            found = "both" if "model" in method else "neither"
            raise self.error(key, "either interpolation or model", found)
        if "model" in method:
            method["model"] = self._class(f"{key}.model", method["model"])
        elif not isinstance(method["interpolation"], str):
            self._class(f"{key}.interpolation", method["interpolation"])
        method["data"] = self.mapping(f"{key}.data", method.get("data", {}))
        for name in _SHARED:
            if name in method["data"]:
                raise self.error(f"{key}.data.{name}", "nothing, it is the same for all methods", method["data"][name])
        method["trainer"] = self._trainer(f"{key}.trainer", method.get("trainer", {}))
        return method

    def _trainer(self, key: str, found: object) -> dict[str, Any]:
        trainer = self.mapping(key, found)
        for name in _OURS:
            if name in trainer:
                raise self.error(f"{key}.{name}", "nothing, because the budget and the table set it", trainer[name])
        return trainer

    def _class(self, key: str, found: object) -> dict[str, Any]:
        given = self.mapping(key, found, ("class_path", "init_args"))
        if not isinstance(given.get("class_path"), str):
            raise self.error(f"{key}.class_path", "the name of a class", given.get("class_path", "nothing"))
        arguments = self.mapping(f"{key}.init_args", given.get("init_args") or {})
        return {"class_path": given["class_path"], "init_args": arguments}

    def _budget(self, key: str, found: object) -> Budget | None:
        if found is None:
            return None
        given = self.mapping(key, found, ("seconds", "cpu_seconds", "steps"))
        ((unit, amount), *more) = given.items() or [("", None)]
        if more or not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 < amount < math.inf:
            raise self.error(key, "one of {seconds: n}, {cpu_seconds: n} and {steps: n}, n positive", given)
        if unit == "steps" and amount != int(amount):
            raise self.error(f"{key}.steps", "a whole number", amount)
        return Budget(cast(Unit, unit), amount)

    def _seeds(self, found: object) -> tuple[int, ...]:
        whole = isinstance(found, list) and all(type(n) is int and n >= 0 for n in found)
        if not whole or not found or len(set(cast(list[int], found))) < len(cast(list[int], found)):
            raise self.error("seeds", "different whole numbers of at least 0", found)
        return tuple(cast(list[int], found))

    def _names(self, key: str, found: object) -> tuple[str, ...]:
        if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
            raise self.error(key, "a list of names", found)
        return tuple(dict.fromkeys(found))

    def _task(self, found: object, methods: Mapping[str, Any], sweep: Sweep | None) -> Scored:
        if found not in ("values", "attention"):
            raise self.error("task", "values or attention", found)
        if found == "attention":
            for name, method in methods.items():
                if "model" not in method:
                    raise self.error(f"methods.{name}", "a model, because its attention is scored", "an interpolation")
            if sweep is not None:
                raise self.error("sweep", "none, because attention makes a table a model", sweep.key)
        return found

    def _panels(
        self, found: object, methods: Mapping[str, Any], sweep: Sweep | None
    ) -> dict[str, dict[str, str]] | None:
        if found is None:
            return None
        if sweep is None:
            raise self.error("panels", "none without a sweep", found)
        panels = {}
        for title, lines in self.mapping("panels", found).items():
            panels[str(title)] = shown = self.mapping(f"panels.{title}", lines, list(methods))
            if not shown or not all(isinstance(called, str) for called in shown.values()):
                raise self.error(f"panels.{title}", "methods and what they are called", lines)
        return panels

    def _sweep(self, found: object, methods: Mapping[str, Any]) -> Sweep | None:
        if found is None:
            return None
        given = self.mapping("sweep", found, ("key", "values", "label", "methods"))
        key, values = given.get("key"), given.get("values")
        part, _, name = str(key).partition(".")
        if part not in ("data", "model", "trainer", "budget") or not name:
            raise self.error("sweep.key", "a dotted key below data, model, trainer or budget", key)
        if not isinstance(values, list) or not values:
            raise self.error("sweep.values", "a list of values", values)
        chosen = None
        if given.get("methods") is not None:
            chosen = self._names("sweep.methods", given["methods"])
            for method in chosen:
                if method not in methods:
                    raise self.error("sweep.methods", f"some of {', '.join(methods)}", method)
        return Sweep(str(key), tuple(map(_number, values)), str(given.get("label", name)), chosen)


def _number(value: Any) -> Any:
    """Return the number that a word stands for: 1e-6 without a point is a word in YAML 1.1."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
