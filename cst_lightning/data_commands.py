"""`cst data`: look at a file, check a configuration, simulate, convert. Nothing heavy is imported for the help."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cst_lightning.usage import CommandParser, UsageError, one_line

if TYPE_CHECKING:
    from cst_lightning.datamodules.readers.source import Source

DATA_HELP = "Look at files, convert them, check a configuration before an hour is spent, simulate."
DESCRIBE_HELP = """\
Say what is in FILE: format, shape, axes, rate and its irregularity, gaps, range, missing values, what was assumed, and
the configuration that suits it. FILE is anything that cst-fit reads: .npz .h5 .nc .zarr .mat .tif, a video, a folder
of pictures, a KITTI drive, suite2p output, .nwb. Large files are sampled; memory stays bounded.

Options of the reader go after the others: --rate 6, --key dff, --layout time_first ..."""
CHECK_HELP = """\
Do what cst-fit does up to the third step of training, writing nothing but cached data: read the settings, set up the
data, draw samples of every split, train and validate on a batch or two. Takes every option of cst-fit."""
SIMULATE_HELP = "Run an embedded simulation and write it in the documented layout. Without NAME: list them."
CONVERT_HELP = """\
Copy FILE to HDF5, sample first, a few frames in memory at a time. What is interrupted leaves nothing behind.
Options of the reader go after the others, as in `cst data describe`."""


class _PassingOn(CommandParser):
    """A parser that leaves what it does not know in `rest`, for the one who does."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        known, rest = super().parse_known_args(args, namespace)
        known.rest = rest
        return known, []


def add_data_commands(subparsers: Any) -> None:
    """Add `data` and what is below it to the sub-commands of `cst`.

    Args:
        subparsers: what `argparse.ArgumentParser.add_subparsers` returned.
    """
    data = subparsers.add_parser("data", help="look at files, convert, check, simulate", description=DATA_HELP)
    commands = data.add_subparsers(required=True, metavar="COMMAND", parser_class=_PassingOn)
    # abbreviations would swallow options that are meant for others
    plain: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    describe = commands.add_parser("describe", help="what is in a file", description=DESCRIBE_HELP, **plain)
    describe.add_argument("file", metavar="FILE", type=Path)
    describe.add_argument("--save", metavar="CONF", type=Path, help="write the suggested configuration to CONF")
    describe.add_argument("--all", action="store_true", help="read all values, however many")
    describe.set_defaults(command=describe_command)
    check = commands.add_parser("check", help="try a configuration", description=CHECK_HELP, **plain)
    check.set_defaults(command=check_command)
    simulate = commands.add_parser("simulate", help="write simulated data", description=SIMULATE_HELP, **plain)
    simulate.add_argument("name", metavar="NAME", nargs="?")
    simulate.add_argument("--out", metavar="FILE", type=Path, help=".h5 or .npz")
    simulate.add_argument("--seed", type=int, default=0, metavar="N", help="recording i depends on (N, i) only (0)")
    simulate.add_argument("--samples", type=int, metavar="N", help="number of recordings")
    simulate.set_defaults(command=simulate_command)
    convert = commands.add_parser("convert", help="copy a file to sample-first HDF5", description=CONVERT_HELP, **plain)
    convert.add_argument("file", metavar="FILE", type=Path)
    convert.add_argument("--out", metavar="FILE", type=Path, required=True, help="where to: .h5")
    convert.set_defaults(command=convert_command)
    for parser in (describe, simulate, convert):
        parser.add_argument("--force", action="store_true", help="overwrite a file that is there")


def describe_command(options: argparse.Namespace) -> int:
    """Carry out `cst data describe` and return the exit code."""
    from cst_lightning.datamodules.progress import progress_bar
    from cst_lightning.inspection import LIMIT, describe
    from cst_lightning.recommending import hindrance, recommend
    from cst_lightning.reporting import config_text, refuse_existing, report, save_config

    if options.save is not None:
        refuse_existing(options.save, options.force)  # before anything long is done
    with _reading(options.file):
        source = _opened(options)
        with progress_bar("Reading") as progress:
            found = describe(source, None if options.all else LIMIT, progress)
    sys.stdout.write(report(found) + "\n")
    if reason := hindrance(found):
        if options.save is not None:
            raise UsageError(f"{options.file}: no configuration is suggested, for there is {reason}")
        sys.stdout.write(f"\nNo configuration is suggested: there is {reason}.\n")
        return 0
    with _reading(options.file):
        settings = recommend(options.file, found, keywords(options.rest))
    if options.save is None:
        sys.stdout.write(f"\nSuggested configuration; --save FILE writes it:\n\n{config_text(settings)}")
        return 0
    with _writing(options.save):
        save_config(settings, options.save, str(options.file), options.force)
    sys.stdout.write(f"\nWritten to {options.save}; train with: cst-fit --config {shlex.quote(str(options.save))}\n")
    return 0


def check_command(options: argparse.Namespace) -> int:
    """Carry out `cst data check` and return the exit code."""
    from cst_lightning.checking import check

    if not options.rest:
        raise UsageError("expected settings as cst-fit takes them, such as --config FILE, found none")
    sys.stdout.write(check(options.rest).text() + "\n")
    return 0


def simulate_command(options: argparse.Namespace) -> int:
    """Carry out `cst data simulate` and return the exit code."""
    from cst_lightning.converting import simulate
    from cst_lightning.fitting import user_errors
    from cst_lightning.inspection import size_text
    from cst_lightning.reporting import shape_text
    from cst_lightning.simulations import simulations

    if options.name is None:
        for name, simulation in simulations().items():
            settings = " ".join(f"--{key} {value}" for key, value in simulation.settings.items())
            sys.stdout.write(f"{name}: {simulation.what}; {simulation.samples} unless --samples N\n    {settings}\n")
        return 0
    if options.out is None:
        raise UsageError("--out: expected the name of a file, found none")
    with user_errors((ValueError,)), _writing(options.out):  # the solvers refuse settings by themselves
        made = simulate(options.name, options.out, options.samples, options.seed, keywords(options.rest), options.force)
    sys.stdout.write(f"{options.out}: values {shape_text(made)}, {size_text(options.out.stat().st_size)}\n")
    return 0


def convert_command(options: argparse.Namespace) -> int:
    """Carry out `cst data convert` and return the exit code."""
    from cst_lightning.converting import convert
    from cst_lightning.datamodules.progress import progress_bar
    from cst_lightning.inspection import size_text
    from cst_lightning.reporting import contents_text

    with _reading(options.file):
        source = _opened(options)
        with _writing(options.out), progress_bar("Converting") as progress:
            convert(source, options.out, options.force, progress)
    size = size_text(options.out.stat().st_size)
    sys.stdout.write(f"{options.out}: {contents_text(source)}, {size}\n")
    sys.stdout.writelines(f"  note  {note}\n" for note in source.notes)
    return 0


def keywords(words: Sequence[str]) -> dict[str, Any]:
    """Read ``--key value`` and ``--key=value``, values as in YAML.

    Raises:
        UsageError: there is a word that is neither.

    Example:
        >>> keywords(["--rate", "6", "--crop=[0, 10]"])
        {'rate': 6, 'crop': [0, 10]}
    """
    import yaml

    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise UsageError(f"expected options such as --rate 6, found {word}")
        if not equals:
            if not rest:
                raise UsageError(f"{word}: expected a value, found none")
            text = rest.pop(0)
        try:
            found[key.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{word}: expected a value as in YAML, found {text!r}") from error
    return found


def _opened(options: argparse.Namespace) -> Source:
    """Open a file with the reader's options that were given."""
    from cst_lightning.datamodules.readers.opening import open_source

    return open_source(options.file, **keywords(options.rest))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes libraries raise into one line.

    They do not promise kinds of errors: the same flipped byte is a KeyError here and an AssertionError there.
    """
    from cst_lightning.errors import DataError
    from cst_lightning.fitting import quiet, user_errors

    with quiet(), user_errors():
        try:
            yield
        except (UsageError, DataError, OSError, ImportError):
            raise
        except Exception as error:
            reason = one_line(str(error))
            line = reason if str(path) in reason else f"{path}: cannot be read ({type(error).__name__}: {reason})"
            raise UsageError(line) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the file that is written into one line: rights, a full disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(str(error))
        raise UsageError(f"{path}: cannot be written: {reason}") from error
