"""Another class of model than the one that a settings file was written for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cst_lightning.baselines.frame_models import FrameModule
from cst_lightning.module import CSTModule
from cst_lightning.usage import parameters


def for_class(words: Sequence[str], kind: type) -> tuple[list[str], list[str]]:
    """Return arguments whose settings files hold for a model of one class, and what that changed.

    A file names its class, or says nothing and means CST. Where the command line has named another class, settings that
    it does not know are left out. A network on frames is so different that none is kept: a width of CST's tokens says
    nothing of its channels.

    Args:
        words: arguments of `cst-fit`.
        kind: class of the model that these arguments ask for.

    Returns:
        The arguments, with JSON in place of the files that are concerned, and one line for each of those files.
    """
    kept, told = list(words), []
    for place, before, path in settings_files(words):
        content = _content(path)
        model = content.get("model")
        if not isinstance(model, Mapping) or (changed := _model_of(model, kind)) is None:
            continue
        settings, dropped = changed
        kept[place] = before + json.dumps(content | {"model": settings}, default=str)
        if dropped:
            why = f"they are for {_class_of(model)}" if issubclass(kind, FrameModule) else f"{kind.__name__} has none"
            told.append(f"model: {', '.join(dropped)} of {path} left out: {why}")
    return kept, told


def settings_files(words: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return of each settings file among arguments in which word it is, what stands before it there, and its name."""
    found = []
    for n, word in enumerate(words):
        if word.startswith("--config="):
            found.append((n, "--config=", word.removeprefix("--config=")))
        elif n and words[n - 1] in ("-c", "--config"):
            found.append((n, "", word))
    return [one for one in found if not one[2].lstrip().startswith("{")]  # settings themselves


def _content(path: str) -> dict[str, Any]:
    """Return what a settings file says, nothing if that cannot be told: the parser will say what is wrong with it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _model_of(model: Mapping[str, Any], kind: type) -> tuple[dict[str, Any], list[str]] | None:
    """Return a model section for a class, and what was dropped from it; None if it is for that class already."""
    if _class_of(model) == kind.__name__:
        return None
    given = (model.get("init_args") or {}) if "class_path" in model else model
    path = f"{kind.__module__}.{kind.__qualname__}"
    known = [] if issubclass(kind, FrameModule) else parameters(path)
    kept = {name: value for name, value in given.items() if name in known}
    return {"class_path": path, "init_args": kept}, [name for name in given if name not in known]


def _class_of(model: Mapping[str, Any]) -> str:
    """Return the short name of the class that a model section is for."""
    return str(model.get("class_path", CSTModule.__name__)).rpartition(".")[2]
