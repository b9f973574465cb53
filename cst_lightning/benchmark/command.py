"""`cst bench`: run comparisons, and print and draw what came out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from cst_lightning.benchmark.protocol import Protocol
    from cst_lightning.benchmark.tables import Report
    from cst_lightning.usage import CommandParser

BENCH_HELP = """\
Train every method of a comparison under the same budget, on the same observations, and score held-out truth.

CONFIG is a file of conf/bench. Everything goes to OUT/<name>-<size>/: results.md and figures to read, results.json with
every number, observations.npz with what was observed. A finished cell (one method, one seed) is not run again: after an
interruption the same command goes on. A method whose package is not installed is left out, and the table says so.

Exit codes: 0 done, 1 a cell failed, 2 bad input (CST_DEBUG=1 shows where), 130 interrupted."""


def add_bench_command(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add `bench` to the sub-commands of `cst`; nothing heavy is imported."""
    bench = commands.add_parser(
        "bench", help="compare methods on one task", description=BENCH_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    bench.add_argument("config", metavar="CONFIG", nargs="+", type=Path, help="comparisons to run")
    bench.add_argument("--size", choices=("small", "default", "paper"), default="default", help="how large (default)")
    bench.add_argument("--jobs", type=_positive, default=1, metavar="N", help="cells at once, each a process (1)")
    bench.add_argument(
        "--threads", type=_positive, metavar="N", help="of each cell; OMP_NUM_THREADS, or the cores shared"
    )
    bench.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="FOLDER", help="runs/bench")
    bench.add_argument("--methods", type=_words, metavar="A,B", help="only these")
    bench.add_argument("--seeds", type=_seeds, metavar="1,2", help="other seeds")
    bench.add_argument(
        "--from", dest="earlier", type=Path, nargs="+", default=[], metavar="FILE",
        help="results.json of earlier runs, such as docs/results/data/s1.json: their cells are not run again",
    )  # fmt: skip
    bench.add_argument("--again", action="store_true", help="run finished cells too")
    bench.set_defaults(command=bench_command)


def bench_command(options: argparse.Namespace) -> int:
    """Carry out `cst bench` and return the exit code."""
    from rich.console import Console

    from cst_lightning.benchmark import reading, runner
    from cst_lightning.fitting import user_errors

    console = Console()
    with user_errors():  # all of them before hours are spent on the first
        found = [runner.chosen(reading.read(p, options.size), options.methods, options.seeds) for p in options.config]
        names = [one.name for one in found]
        if len(set(names)) < len(names):
            raise ValueError(f"CONFIG: expected comparisons of different names, found {', '.join(names)}")
    failed = False
    for path, one in zip(options.config, found, strict=True):
        report = _run(path, one, options, console)
        failed = failed or bool(report.failed)
    return 1 if failed else 0


def _run(path: Path, one: Protocol, options: argparse.Namespace, console: Console) -> Report:
    """Run one comparison, draw it and print its table."""
    from rich.console import Console
    from rich.measure import Measurement

    from cst_lightning.benchmark import charts, runner, tables
    from cst_lightning.datamodules.progress import progress_bar
    from cst_lightning.fitting import quiet, user_errors
    from cst_lightning.usage import UsageError

    folder = options.out / f"{one.name}-{one.size}"
    with user_errors(), quiet(), progress_bar(one.name) as progress:

        def told(done: int, total: int, line: str) -> None:
            progress(done, total)
            if line:
                console.print(line, highlight=False, markup=False, soft_wrap=True)

        settings = {
            "jobs": options.jobs,
            "threads": options.threads,
            "again": options.again,
            "earlier": options.earlier,
        }
        try:
            report = runner.bench(one, folder, **settings, told=told, command=_typed(path, options))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        pictures = charts.draw(report, folder / "figures")
    for made in tables.terminal(report):
        # a table that does not fit is better wrapped by the terminal than cut
        wide = Measurement.get(console, console.options.update(max_width=500), made).maximum
        Console(width=max(console.width, wide)).print(made)
    for line in tables.notes(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for written in (folder / "results.md", folder / "results.json", *pictures):
        console.print(f"  {written}", highlight=False, markup=False, soft_wrap=True)
    return report


def _typed(path: Path, options: argparse.Namespace) -> str:
    """Return the command that gives the same figures again; of an absolute path the file's name alone."""
    words = ["cst bench", path.name if path.is_absolute() else path.as_posix(), f"--size {options.size}"]
    words += [f"--methods {','.join(options.methods)}"] if options.methods else []
    words += [f"--seeds {','.join(map(str, options.seeds))}"] if options.seeds else []
    words += [f"--jobs {options.jobs}"] if options.jobs > 1 else []
    words += [f"--threads {options.threads}"] if options.threads else []
    return " ".join(words)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return int(text)


def _words(text: str) -> list[str]:
    if not (words := [word for word in text.split(",") if word]):
        raise argparse.ArgumentTypeError("expected names separated by commas, found none")
    return words


def _seeds(text: str) -> list[int]:
    if not all(word.isdecimal() for word in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, found {text}")
    return list(dict.fromkeys(int(word) for word in text.split(",")))
