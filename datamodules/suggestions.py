"""Settings that follow from the data's size, so that a first run takes some minutes on two cores and shows something.

What a training step costs decides most of it: attention of N shown and Q asked points grows as ``N^2 + N Q``, all else
as ``(N + Q) W^2``, both times batch and depth. So the points a sample shows are capped, windows are as long as that
leaves room for, and the number of epochs is what fits into the budget.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cst_lightning.datamodules import choices
from cst_lightning.datamodules.cost import step_seconds
from cst_lightning.datamodules.cutting import pauses_text
from cst_lightning.datamodules.facts import Facts, facts_of
from cst_lightning.datamodules.readers.source import Gridded, Source

__all__ = ["Plan", "config", "explain", "plan", "step_seconds", "suggest"]

# Seconds of training that are aimed at.
_BUDGET = 150.0
# Steps after which little is gained, and before which little is learnt.
_STEPS = (150, 3000)
# Points shown from which on attention goes through latents, and how many.
_MANY, _LATENTS = 1024, 256


@dataclass
class Plan:
    """What was chosen, and why.

    Attributes:
        data: arguments of the data module.
        model: arguments of the model.
        trainer: arguments of the trainer.
        figures: names of axes and values, with units.
        reasons: one line each, for people.
    """

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def suggest(source: Source, **given: Any) -> dict[str, dict[str, Any]]:
    """Return settings for `ArrayDataModule`, `CSTModule` and the trainer that suit the data.

    Args:
        source: what a reader returned; a few frames at most are read, to see whether they are complete.
        **given: settings of the data that are fixed already, such as `tokens`, `window`, `holdout`, `batch_size`; the
            rest is chosen to go with them.

    Returns:
        Settings below "data", "model", "trainer" and "figures".

    Example:
        >>> import numpy as np
        >>> from cst_lightning.datamodules.readers.arrays import read_arrays
        >>> curves = read_arrays({"values": np.zeros((100, 50, 2)), "time": np.arange(50)})
        >>> suggest(curves)["data"]["observed"]
        0.5
    """
    made = plan(source, **given)
    return {"data": made.data, "model": made.model, "trainer": made.trainer, "figures": made.figures}


def explain(source: Source, **given: Any) -> list[str]:
    """Return what `suggest` chooses and why, in words, one line each."""
    return plan(source, **given).reasons


def config(source: Source, path: str | os.PathLike[str], **given: Any) -> dict[str, Any]:
    """Return a whole configuration for `cst-fit`.

    Args:
        source: what a reader returned.
        path: of the data, as the configuration should name it.
        **given: see `suggest`.
    """
    made = suggest(source, **given)
    data = {"path": os.fspath(path), **{k: v for k, v in given.items() if v is not None}, **made["data"]}
    return {**made, "data": {"class_path": "ArrayDataModule", "init_args": data}}


def plan(source: Source, **given: Any) -> Plan:
    """Choose all settings; see `suggest`."""
    facts, made = facts_of(source), Plan()
    said = {name: value for name, value in given.items() if value is not None}

    def settle(name: str, choose: Callable[[], tuple[Any, str]]) -> Any:
        if name not in said:
            value, reason = choose()
            if value is not None:
                made.data[name] = value
                if reason:
                    made.reasons.append(f"data.{name} {value}: {reason}")
            said[name] = value
        return said[name]

    settle("holdout", lambda: choices.holdout_for(facts, said))
    if not facts.scattered:
        settle("tokens", lambda: choices.tokens_for(facts, said))
    if said.get("tokens") == "patches":
        settle("patch", lambda: choices.patch_for(facts, said))
        settle("overlap", lambda: choices.overlap_for(facts, said))
    if said.get("tokens") == "components":
        settle("components", lambda: choices.components_for(facts))
        settle("spread", lambda: ("joint", "components keep their proportions"))
    if choices.is_short(facts, said):
        for name, share in choices.SHARES.items():
            settle(name, lambda share=share: (share, ""))  # type: ignore[misc]
    window = settle("window", lambda: choices.window_for(facts, said)) or facts.frames
    if not facts.scattered:
        settle("divide", lambda: choices.divide_for(facts, said, window))
    if isinstance(source, Gridded) and (said.get("window") or said.get("divide") != "samples"):
        made.reasons += [text for text in [pauses_text(source.axes[0])] if text]
    settle("stride", lambda: choices.stride_for(facts, said, window))
    settle("observed", lambda: choices.observed_for(facts, said, window))
    shown = choices.shown_of(facts, said, window)
    _ask(settle, facts, said)
    windows = choices.count_windows(facts, said, window)
    batch = settle("batch_size", lambda: (_power(max(1, min(32, 2048 // max(shown, 1), windows))), ""))
    settle("eval_batch_size", lambda: (_power(max(1, min(32, 4096 // max(shown, 1)))), ""))
    settle("dummies", lambda: (5, ""))  # free without a Sobolev term, and then model.mu alone adds one
    if choices.dimension_of(facts, said) > 1 and not facts.scattered:
        settle("val_sites", lambda: choices.val_sites_for(facts, said))
    made.figures |= _labels(source, said)
    _model(made, choices.dimension_of(facts, said), shown)
    _trainer(made, shown, batch, windows)
    return made


def _ask(settle: Callable[[str, Callable[[], tuple[Any, str]]], Any], facts: Facts, said: dict[str, Any]) -> None:
    """Choose what training shows and asks for."""
    settle("target", lambda: ("masked", ""))
    settle("context", lambda: ([0.5, 0.9], "") if said["holdout"] != "regular" else ([0.4, 0.9], ""))
    if said["holdout"] == "frames" or (choices.dimension_of(facts, said) == 1 and said["holdout"] == "points"):
        settle("keep_ends", lambda: (True, "what is held out lies between observations"))
        settle("context_ends", lambda: (True, ""))
    if said["holdout"] in (*choices.APART, *choices.FRAMES):
        settle("dummy_domain", lambda: ("hull", ""))


def _labels(source: Source, said: dict[str, Any]) -> dict[str, list[str]]:
    """Return what figures write on their axes."""
    names = [axis.label for axis in source.axes] if isinstance(source, Gridded) else list(source.axes)
    if said.get("tokens") == "components":
        return {"coords": names[:1], "values": [f"component {i + 1}" for i in range(said["components"])]}
    unit = f" ({source.unit})" if isinstance(source, Gridded) and source.unit else ""
    values = [name + unit for name in source.channels]
    return {"coords": names[:1]} if said.get("tokens") == "frames" else {"coords": names, "values": values}


def _power(n: int) -> int:
    """Return the largest power of two that is not above n."""
    return 2 ** int(math.log2(max(n, 1)))


def _model(made: Plan, dimension: int, shown: int) -> None:
    width = 64 if dimension == 1 or shown < 64 else 96
    made.model |= {"width": width, "depth": 4, "heads": 4, "order": 2}
    if shown > _MANY:
        made.model["latents"] = _LATENTS
        made.reasons.append(f"model.latents {_LATENTS}: {shown:,} points a sample attend to so many")
    # without a Sobolev term, which is worth its time only for derivatives of noisy curves: docs/results/sobolev.md
    made.model["mu"] = 0.0
    if dimension == 1:
        made.model["initialiser"] = "makima"
        reason = "observations lie along time only; it has no kinks and overshoots little"
        made.reasons.append("model.mu 0: if derivatives of noisy curves matter, try --model.mu 1e-6")
    else:
        made.model |= {"initialiser": "idw", "directions": "random", "lr": 6e-3}
        reason = "observations are scattered"
    made.reasons.append(f"model.initialiser {made.model['initialiser']}: {reason}")
    made.reasons.append(f"model.width {width}: {shown} points a sample")


def _trainer(made: Plan, shown: int, batch: int, windows: int) -> None:
    model = made.model
    # of what is observed, 70 % on average is shown in training and the rest asked for
    sizes = (batch, round(0.7 * shown), round(0.3 * shown), 0, model["width"], model["depth"])
    step = step_seconds(*sizes, latents=model.get("latents", 0))
    steps = int(min(_STEPS[1], max(_STEPS[0], _BUDGET / step)))
    epochs = max(1, round(steps / max(1, math.ceil(windows / batch))))
    made.trainer |= {"max_epochs": epochs, "check_val_every_n_epoch": max(1, epochs // 10)}
    steps = epochs * math.ceil(windows / batch)
    made.reasons.append(
        f"trainer.max_epochs {epochs}: {steps:,} steps of {batch} of the {windows} samples, "
        f"about {steps * step / 60:.1f} minutes on one core"
    )
