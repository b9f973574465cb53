"""Another class of model than the one that a settings file was written for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cst_lightning.baselines.frame_models import FrameModule
from cst_lightning.module import CSTModule


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
    for n, word in enumerate(words):
        option, equals, path = word.partition("=")
        if option not in ("-c", "--config") or not (equals or n + 1 < len(words)):
            continue
        place = n if equals else n + 1
        path = path if equals else words[place]
        content = _content(path)
        model = content.get("model")
        if not isinstance(model, Mapping) or (changed := _model_of(model, kind)) is None:
            continue
        settings, dropped = changed
        text = json.dumps(content | {"model": settings})
        kept[place] = f"{option}={text}" if equals else text
        if dropped:
            whose = str(model.get("class_path", CSTModule.__name__)).rpartition(".")[2]
            why = f"they are for {whose}" if issubclass(kind, FrameModule) else f"{kind.__name__} has none"
            told.append(f"model: {', '.join(dropped)} of {path} left out: {why}")
    return kept, told


def _content(path: str) -> dict[str, Any]:
    """Return what a settings file says, nothing if that cannot be told: the parser will say what is wrong with it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _model_of(model: Mapping[str, Any], kind: type) -> tuple[dict[str, Any], list[str]] | None:
    """Return a model section for a class, and what was dropped from it; None if it is for that class already."""
    whose = str(model.get("class_path", CSTModule.__name__)).rpartition(".")[2]
    if whose == kind.__name__:
        return None
    given = (model.get("init_args") or {}) if "class_path" in model else model
    known = set() if issubclass(kind, FrameModule) else _parameters(kind)
    kept = {name: value for name, value in given.items() if name in known}
    path = f"{kind.__module__}.{kind.__qualname__}"
    return {"class_path": path, "init_args": kept}, [name for name in given if name not in known]


def _parameters(kind: type) -> set[str]:
    """Return the names of a constructor's arguments, those of its bases included as far as it passes on any."""
    names: set[str] = set()
    for base in kind.__mro__:
        own = vars(base).get("__init__")
        if own is None:
            continue
        parameters = inspect.signature(own).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}
