"""What a comparison is: a YAML file with the data, the methods, their budget and the scores; see `reading`.

```yaml
name: s1
about: one sentence for the head of the table
data: {class_path: SpiralsDataModule, init_args: {observed: 10}}  # as in cst-fit
budget: {seconds: 60}  # or {steps: 500}, or {cpu_seconds: 60}; equal for each learned method
seeds: [1, 2, 3]  # of observations, weights and draws
scores: [mse, relative_l2]  # the first one ranks
trainer: {precision: 32-true}  # of all learned methods
methods:
  pchip: {interpolation: pchip}
  cst: {model: {class_path: CSTModule, init_args: {width: 64}}}
  cst_no_dummies: {like: cst, data: {dummies: 0}}
sizes: {small: {budget: {steps: 3}}, paper: {budget: {seconds: 3600}}}
sweep: {key: data.noise, values: [0.0, 0.1], label: noise}  # optional
panels: {few: {cubic: a spline}}  # optional: pictures beside each other in the figures of a sweep, and their lines
task: attention  # instead of values: what is scored are attention weights, see `upsampling`; no sweep
```
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Size = Literal["small", "default", "paper"]
Unit = Literal["seconds", "cpu_seconds", "steps"]
Scored = Literal["values", "attention"]
SIZES: tuple[Size, ...] = ("small", "default", "paper")


class Budget(NamedTuple):
    """What each learned method may spend on its training.

    Attributes:
        unit: wall-clock `seconds`; `cpu_seconds` of the process, which other people's programs do not shorten; or
            optimiser `steps`.
        amount: how many.
    """

    unit: Unit
    amount: float

    def __str__(self) -> str:
        words = {"seconds": "s of wall time", "cpu_seconds": "s of processor time", "steps": "optimiser steps"}
        return f"{self.amount:g} {words[self.unit]}"


class Sweep(NamedTuple):
    """A setting that is varied.

    Attributes:
        key: dotted, below `data`, `model`, `trainer` or `budget`: `data.noise`, `model.mu`.
        values: of the setting.
        label: on the figure's axis.
        methods: for which it is varied; None for all, each of which must have the key.
    """

    key: str
    values: tuple[Any, ...]
    label: str
    methods: tuple[str, ...] | None


class Case(NamedTuple):
    """One cell of the comparison: one method, on one draw of the observations, at one value of the sweep.

    Attributes:
        method: its name in the table.
        seed: of observations, weights and draws.
        value: of the sweep; None without one.
        settings: `interpolation` or `model`, `trainer`, `budget`; `data` as they are for every method of the table,
            and `own`, what this method has different in them.
    """

    method: str
    seed: int
    value: Any
    settings: dict[str, Any]


class Protocol(NamedTuple):
    """A checked comparison at one size; see the module's docstring. `panels` has no part in what is compared."""

    name: str
    size: Size
    about: str
    data: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    budget: Budget | None
    scores: tuple[str, ...]
    trainer: dict[str, Any]
    sweep: Sweep | None
    task: Scored = "values"
    panels: dict[str, dict[str, str]] | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        """Values of the sweep, or None alone."""
        return (None,) if self.sweep is None else self.sweep.values

    def cases(self) -> Iterator[Case]:
        """Yield all cells, seed by seed, so that an interrupted table has something of every method."""
        for seed in self.seeds:
            for value in self.values:
                for method in self.methods:
                    yield Case(method, seed, value, self._settings(method, value))

    def data_at(self, value: Any) -> dict[str, Any]:
        """Return the data that all methods share at a value of the sweep."""
        data = copy.deepcopy(self.data)
        if self.sweep is not None and self.sweep.key.startswith("data."):
            _put(data["init_args"], self.sweep.key.removeprefix("data."), value)
        return data

    def _settings(self, method: str, value: Any) -> dict[str, Any]:
        given = copy.deepcopy(self.methods[method])
        settings: dict[str, Any] = {"data": self.data_at(value), "own": given.get("data", {})}
        if self.task != "values":  # finished cells of all others know nothing of tasks
            settings["task"] = self.task
        if "interpolation" in given:
            return settings | {"interpolation": given["interpolation"]}
        budget = None if self.budget is None else self.budget._asdict()
        settings |= {"model": given["model"], "trainer": merged(self.trainer, given.get("trainer", {}))}
        settings["budget"] = budget
        if self.sweep is not None and (self.sweep.methods is None or method in self.sweep.methods):
            part, _, key = self.sweep.key.partition(".")
            if part == "model":
                _put(settings["model"].setdefault("init_args", {}), key, value)
            elif part == "trainer":
                _put(settings["trainer"], key, value)
            elif part == "budget":
                settings["budget"] = {"unit": key, "amount": value}
        return settings


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over others, mapping by mapping; another class takes none of the arguments of the one below.

    A budget in another unit replaces the one below as a whole.
    """
    result = copy.deepcopy(dict(below))
    for key, value in above.items():
        under = result.get(key)
        result[key] = copy.deepcopy(value)
        if isinstance(value, Mapping) and isinstance(under, Mapping) and key != "budget":
            same = value.get("class_path", under.get("class_path")) == under.get("class_path")
            result[key] = merged(under, value) if same else result[key]
    return result


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key."""
    *parents, last = key.removeprefix("init_args.").split(".")
    for name in parents:
        settings = settings.setdefault(name, {})
    settings[last] = value
