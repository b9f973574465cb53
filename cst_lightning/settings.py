"""The parser behind `cst-fit`: settings files and overrides become data, model and trainer."""

from __future__ import annotations

import json
import pkgutil
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from cst_lightning import baselines, callbacks, datamodules, runs
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.field_module import FieldModule
from cst_lightning.module import CSTModule
from cst_lightning.switching import for_class, settings_files
from cst_lightning.usage import UsageError, explain

LINKED = ("dimension", "channels", "periodic")


class FitCLI(LightningCLI):
    """The parser and the objects behind `cst-fit`.

    Args:
        arguments: what follows the command's name.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        for package in (datamodules, baselines):
            for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                if not found.ispkg:  # a class is known by its short name once its module is imported
                    import_module(found.name)
        super().__init__(
            FieldModule,
            FieldDataModule,
            save_config_callback=None,  # it would write before the data is known to be good
            trainer_defaults={
                "default_root_dir": "runs",
                "enable_model_summary": False,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
            },
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "prog": "cst-fit"},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # checkpoints hold plain hyperparameters, so that they need no pickle
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is ours, and write the facts that the data knows into the model, once."""
        parser.add_argument("--name", type=str | None, default=None, help="Name of the run.")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to go on with, or `last`.")
        parser.add_lightning_class_args(callbacks.FiguresCallback, "figures")
        _default_model(parser, f"{CSTModule.__module__}.{CSTModule.__name__}")
        for fact in LINKED:
            parser.link_arguments(f"data.{fact}", f"model.init_args.{fact}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and report what is wrong in one line.

        Twice: first for what everything is seeded with, and where; then with that below all that the user gave.
        """
        try:
            words = [word for word in args if not word.startswith("--print_config")]
            # without defaults, to tell what was given; a model is required then, though its class is known
            known = ["--config", json.dumps({"model": {"class_path": parser.get_default("model")["class_path"]}})]
            given = parser.parse_args([*known, *words], defaults=False)
            _default_model(parser, given.model.class_path)
            below, self.reasons = _suggestions(given)
            ours, self.left_out = for_class(args, _class_at(given.model.class_path))
            first = parser.parse_args([*below, *(word for word in ours if not word.startswith("--print_config"))])
            self.config = parser.parse_args([*below, *_seeds(first), *ours])
        except ArgumentError as error:
            classes = [*_subclasses(FieldDataModule), *_subclasses(FieldModule)]
            line = explain(str(error), parser.get_defaults().keys(), classes)
            raise UsageError(_with_file(line, args)) from error
        self.config.config = [path for _, _, path in settings_files(args)]  # less what was added above
        self.config.name = self.config.name or _name(self.config)
        if Path(self.config.name).name != self.config.name or self.config.name in (".", ".."):
            raise UsageError(f"name: expected a name without a path, found {self.config.name!r}")

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; nothing is written yet."""
        self.config_init = self.parser.instantiate(self.config)
        self.datamodule, self.model = self.config_init.data, self.config_init.model
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with our callbacks, less those the user brings; loggers come when the folder is there."""
        settings = {**self.config_init.trainer}
        own = settings.get("callbacks") or []
        self.stopwatch = runs.Stopwatch()
        pictures = [] if settings.get("fast_dev_run") else [self.config_init.figures]
        ours = [c for c in [self.stopwatch, *pictures, *_callbacks(settings)] if type(c) not in map(type, own)]
        logger = settings.get("logger")
        settings |= {"callbacks": [*own, *ours], "logger": False if logger in (None, True) else logger}
        return self.trainer_class(**{**settings, **kwargs})

    @property
    def rehearsal(self) -> bool:
        """Whether a few batches are run to see that everything works, and nothing is kept."""
        return bool(self.config.trainer.fast_dev_run)

    @property
    def folder(self) -> Path:
        """Where the runs of this name are."""
        return Path(self.config.trainer.default_root_dir or "runs", str(self.config.name))


def _default_model(parser: LightningArgumentParser, path: str) -> None:
    """Say which class the model is if no more is said.

    The class that the user wants has to be the default: the parser goes from the default to another class with all
    values whose names that one knows too, and another network would get the width of ours for its own.
    """
    parser.set_defaults({"model": {"class_path": path}})


def _subclasses(kind: type) -> Iterator[type]:
    """Yield all of ours below a class, deepest last."""
    child: type
    for child in kind.__subclasses__():
        if child.__module__.startswith("cst_lightning"):
            yield child
        yield from _subclasses(child)


def _with_file(line: str, arguments: Sequence[str]) -> str:
    """Name the settings file unless the offending key was typed on the command line."""
    files = [path for _, _, path in settings_files(arguments)]
    key = line.removeprefix("unknown key ").split()[0].strip(":;")
    typed = any(word.lstrip("-").partition("=")[0] == key for word in arguments if word.startswith("--"))
    return line if typed or not files or files[-1] in line else f"{files[-1]}: {line}"


def _class_at(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(import_module(module), name)
    return found


def _seeds(config: Namespace) -> list[str]:
    """Return arguments that seed data and model with `seed_everything`, where they have a seed."""
    seed = config.seed_everything
    if seed is None or isinstance(seed, bool):
        return []
    parts = {name: config.get(name) for name in ("data", "model")}
    settings = {
        name: {"class_path": part.class_path, "init_args": {"seed": seed}}
        for name, part in parts.items()
        if part is not None and "seed" in (part.get("init_args") or {})
    }
    return ["--config", json.dumps(settings)]


def _suggestions(given: Namespace) -> tuple[list[str], list[str]]:
    """Return arguments for what the user has left open and the data can answer, and the reasons, one line each."""
    data, model = given.get("data"), given.get("model")
    if data is None or not data.get("class_path"):
        return [], []
    kind = _class_at(str(data.class_path))
    if not issubclass(kind, FieldDataModule):
        return [], []
    chosen, reasons = kind.suggest(**dict(data.get("init_args") or {}))
    paths = {"data": data.class_path, "model": model.class_path if model else f"{CSTModule.__module__}.CSTModule"}
    settings = {
        part: {"class_path": paths[part], "init_args": values} if part in paths else values
        for part, values in chosen.items()
        if values
    }
    open_ones = [line for line in reasons if not _is_given(given, line)]
    return (["--config", json.dumps(settings)] if settings else []), open_ones


def _is_given(given: Namespace, reason: str) -> bool:
    """Return whether a reason is for a setting of model or trainer, its first word, that the user has set."""
    part, _, name = reason.partition(" ")[0].partition(".")
    if part not in ("model", "trainer"):
        return False
    found = given.get(part) or {}
    return name in dict((found.get("init_args") or {}) if part == "model" else found)


def _name(config: Namespace) -> str:
    """Name a run after its settings file, or after its data."""
    if config.config:
        return Path(str(config.config[-1])).stem
    return str(config.data.class_path).rpartition(".")[2]


def _callbacks(settings: dict[str, Any]) -> list[Callback]:
    """Return the callbacks of every run."""
    validated = settings.get("limit_val_batches") != 0
    chosen: list[Callback] = [callbacks.InterpolationCallback(), callbacks.SmoothnessCallback(), runs.FinalValidation()]
    if settings.get("enable_progress_bar") is not False:
        chosen.append(callbacks.FitProgressBar())
    if settings.get("enable_checkpointing") is not False:
        chosen += runs.checkpoints(validated)
    return chosen
