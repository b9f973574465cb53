"""The commands: `cst-fit` trains, scores and draws; `cst` uses what came out, and looks at data.

Nothing heavy is imported here, so that help and version come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from cst_lightning import __version__
from cst_lightning.usage import UsageError

FIT_HELP = """\
usage: cst-fit --config FILE [--KEY VALUE ...]

Train a continuous field on irregular observations, score it on held-out truth, and draw it.
Everything goes into runs/<name>/version_<n>/; runs/<name>/last points to the newest.

  --config FILE              settings (YAML); may be given several times, later ones win
  --name NAME                name of the run; the file's own name unless given
  --data.KEY VALUE           e.g. --data.observed 64 --data.path measurements.mat
  --model.KEY VALUE          e.g. --model.width 128 --model.order 2
  --trainer.KEY VALUE        e.g. --trainer.max_epochs 3 --trainer.devices 2 --trainer.strategy ddp
  --seed_everything N        seed of weights and draws, 0 unless given; --data.seed and --model.seed, where they are
                             set, win, so that --data.seed can keep the observations while the weights change
  --ckpt_path last|FILE      go on with the last run of this name, or with a checkpoint, in the same folder
  --print_config             print every setting as it would be used, and stop
  --data.help [CLASS]        explain the settings of the data, e.g. SpiralsDataModule
  --model.help CSTModule     explain the settings of the model
  --help_all                 list every option there is
  --version                  print the version

Exit codes: 0 done, 1 failed while training, 2 bad input (CST_DEBUG=1 shows where), 130 interrupted.
"""


def fit(arguments: Sequence[str] | None = None) -> int:
    """Run `cst-fit`.

    Args:
        arguments: what follows the command's name; taken from the command line when omitted.

    Returns:
        The exit code.
    """
    share_cores()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or {"-h", "--help"} & set(given):
        sys.stdout.write(FIT_HELP)
        return 0 if given else 2
    if "--version" in given:
        sys.stdout.write(f"cst-lightning {__version__}\n")
        return 0

    def command() -> int:
        from cst_lightning.fitting import fit_and_report

        return fit_and_report(["--help" if word == "--help_all" else word for word in given])

    return guarded("cst-fit", command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cst`; arguments and result as in `fit`."""
    share_cores()
    from cst_lightning.predict import build_parser

    parser = build_parser()
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    return guarded("cst", lambda: int(options.command(options)))


def guarded(program: str, command: Callable[[], int]) -> int:
    """Run a command so that what the user got wrong ends in one line and exit code 2, and a bug in its traceback.

    Set ``CST_DEBUG=1`` to see the traceback of both.
    """
    try:
        return command()
    except UsageError as error:
        if os.environ.get("CST_DEBUG") == "1":
            raise
        if _speaks():
            sys.stderr.write(f"{program}: error: {error}\n")
        return 2
    except BrokenPipeError:  # whoever reads the output, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130


def share_cores() -> None:
    """Let threads that wait for others sleep soon, unless the user has said how they wait; before torch is imported.

    GNU OpenMP, which torch has on Linux, lets them spin 300,000 times, and 1,000 if it is asked for more threads than
    there are cores. It does not see another program on one of them: then each step waits for a thread that is not
    running, on a core that it keeps from running. Beside one such program this took a step from 330 to 138 ms; on idle
    cores the difference is below the noise (docs/decisions.md).
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _speaks() -> bool:
    """Tell whether this process is the one of several that talks to the user."""
    from lightning.pytorch.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) in (0, None)
