"""Measure what derivatives, queries, context and dimension cost, on this machine, as ratios within one run.

``python -m cst_lightning.benchmark.speed --out runs/bench`` writes ``speed.md`` and ``speed.json`` and prints
the tables.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.markdown import Markdown
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cst_lightning import jets
from cst_lightning.benchmark.machine import peak_memory
from cst_lightning.field import Field
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Normalization, PointSet, point_set
from cst_lightning.sobolev import SobolevLoss

ORDERS = (1, 2, 3)


class Table(NamedTuple):
    """One table of the report."""

    title: str
    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.head) + " |", "|" + "---|" * len(self.head)]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in self.rows), ""])


def network(dimension: int = 1, **options: Any) -> CSTNetwork:
    """Return the network that is timed: width 64, 4 layers, a head that is not zero."""
    torch.manual_seed(0)
    net = CSTNetwork(dimension, 1, width=64, depth=4, heads=4, **options)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    return net


def points(dimension: int, count: int, batch: int = 4) -> PointSet:
    """Return random observations in the box."""
    return point_set(torch.rand(batch, count, dimension) * 2 - 1, torch.randn(batch, count, 1))


def seconds(actions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median time of each action; they take turns, so that a drift of the machine meets all alike."""
    for action in actions:
        action()
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats):
        for action, record in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in times]


def plain_step(net: CSTNetwork, context: PointSet, coords: Tensor) -> Tensor:
    """Return the loss of a step without derivatives."""
    return net.query(net.encode(context), coords).square().mean()


def jet_step(net: CSTNetwork, context: PointSet, coords: Tensor, lines: Tensor, order: int, dummies: int = 0) -> Tensor:
    """Return the loss of a step that penalises orders 1..k, at all queries or at the last `dummies` of them."""
    memory = net.encode(context)
    split = coords.shape[1] - dummies if dummies else 0
    jet = jets.derivatives(net.query(memory, coords[:, split:], order, lines[:, split:]))
    loss = jet[0].square().mean() + 1e-6 * jet[1:].square().mean()
    return loss + net.query(memory, coords[:, :split]).square().mean() if split else loss


def nested_step(net: CSTNetwork, context: PointSet, coords: Tensor, lines: Tensor, order: int) -> Tensor:
    """Return the same loss by nested reverse mode, with the attention kernel that can be differentiated twice."""
    t = torch.zeros(coords.shape[:2], requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        value = net.query(net.encode(context), coords + t[..., None] * lines)[..., 0]
    loss = value.square().mean()
    for _ in range(order):
        # Queries are isolated, so the gradient of the sum is every query's own derivative.
        (value,) = torch.autograd.grad(value.sum(), t, create_graph=True)
        loss = loss + 1e-6 * value.square().mean() / order
    return loss


def derivative_costs(repeats: int, compiled: bool) -> Table:
    """Measure a training step with derivatives of order k relative to one without, by three methods."""
    net, context = network(), points(1, 100)
    coords, lines = torch.rand(4, 200, 1) * 2 - 1, torch.ones(4, 200, 1)

    def backward(loss: Callable[..., Tensor], *rest: Any) -> Callable[[], None]:
        return partial(_backward, loss, net, context, coords, *rest)

    def fast(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return torch.compile(function, dynamic=False) if compiled else function

    actions = [backward(plain_step)]
    actions += [backward(step, lines, k) for step in (jet_step, nested_step) for k in ORDERS]
    actions += [backward(jet_step, lines, k, 50) for k in ORDERS]
    if compiled:
        actions += [backward(fast(plain_step))]
        actions += [backward(fast(jet_step), lines, k) for k in ORDERS]
        actions += [backward(fast(jet_step), lines, k, 50) for k in ORDERS]
    times = seconds(actions, repeats)
    names = ["jets", "nested autograd.grad", "jets at a quarter of the queries"]
    rows = [[name, *_ratios(times[1 + 3 * i : 4 + 3 * i], times[0])] for i, name in enumerate(names)]
    rows[0].append(f"{1e3 * times[0]:.0f} ms")
    if compiled:
        base, rest = times[10], times[11:]
        for i, name in enumerate(("jets, compiled", "jets at a quarter of the queries, compiled")):
            rows.append([name, *_ratios(rest[3 * i : 3 * i + 3], base)])
        rows[3].append(f"{1e3 * base:.0f} ms")
    rows = [row + [""] * (5 - len(row)) for row in rows]
    title = "Training step relative to one without derivatives (batch 4, 100 context, 200 queries, width 64, 4 layers)"
    return Table(title, ["method", *(f"k = {k}" for k in ORDERS), "k = 0"], rows)


def dimension_costs(repeats: int) -> Table:
    """Measure the Sobolev term against the dimension, for all multi-indices and for random directions."""

    def sobolev(net: CSTNetwork, context: PointSet, dummies: Tensor, loss: SobolevLoss) -> None:
        torch.stack(loss.terms(net, net.encode(context), dummies)).sum().backward()

    rows = []
    for dimension in (1, 2, 3, 4):
        case = (
            network(dimension, initialiser="zero"),
            points(dimension, 100),
            torch.rand(4, 50, dimension) * 2 - 1,
        )
        actions: list[Callable[[], object]] = [partial(_backward, plain_step, *case)]
        actions += [partial(sobolev, *case, SobolevLoss(2, directions=which)) for which in ("all", "random")]
        base, *rest = seconds(actions, repeats)
        rows.append([str(dimension), *_ratios(rest, base)])
    return Table(
        "Sobolev term of order 2 at 50 dummies, relative to reading their values", ["d", "all", "random"], rows
    )


def growth(title: str, cases: Sequence[tuple[int, int, int]], repeats: int) -> Table:
    """Measure time and peak memory of observing and asking, each case in a process of its own.

    Args:
        title: of the table.
        cases: (queries, observations, latents).
        repeats: of each case; medians are given.

    Returns:
        The table.
    """
    rows = []
    for case in cases:
        runs = [_elsewhere(case) for _ in range(repeats)]
        found = {key: statistics.median(run[key] for run in runs) for key in ("encode", "ask", "mebibytes")}
        queries, observed, latents = (f"{n:,}" for n in case)
        row = [queries, observed, latents if case[2] else "-", f"{found['encode']:.3f}", f"{found['ask']:.3f}"]
        rows.append([*row, f"{found['mebibytes']:.0f}"])
    head = ["queries", "observations", "latents", "s to observe", "s to ask", "MiB beyond the model"]
    return Table(title, head, rows)


def once(queries: int, observed: int, latents: int) -> dict[str, float]:
    """Observe and ask once; return the seconds of both and the growth of peak memory, in MiB."""
    field = Field(network(3, initialiser="zero", latents=latents).eval(), Normalization.identity(3, 1), budget=2**27)
    generator = np.random.default_rng(0)
    seen, values = generator.uniform(-1, 1, (observed, 3)), generator.normal(size=(observed, 1))
    field.observe(seen[:8], values[:8])(seen[:8])  # what the first call loads is no growth
    coords = generator.uniform(-1, 1, (queries, 3))
    before, start = peak_memory(), time.perf_counter()
    function = field.observe(seen, values)
    middle = time.perf_counter()
    function(coords)
    asked = time.perf_counter() - middle
    return {"encode": middle - start, "ask": asked, "mebibytes": peak_memory() - before}


def _elsewhere(case: tuple[int, int, int]) -> dict[str, float]:
    command = [sys.executable, "-m", "cst_lightning.benchmark.speed", "--once", *map(str, case)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
    return found


def against_scipy(count: int) -> Table:
    """Measure prediction beside scipy's local thin-plate interpolator on the same observations and queries."""
    field = Field(network(3).eval(), Normalization.identity(3, 1))
    generator = np.random.default_rng(0)
    coords, values = generator.uniform(-1, 1, (256, 3)), generator.normal(size=(256, 1))
    query = generator.uniform(-1, 1, (count, 3))
    actions = [
        lambda: field.observe(coords, values)(query),
        lambda: RBFInterpolator(coords, values, neighbors=50)(query),
    ]
    ours, theirs = seconds(actions, 3)
    rows = [["CST", f"{count / ours:,.0f}"], ["scipy RBFInterpolator(neighbors=50)", f"{count / theirs:,.0f}"]]
    return Table(f"Queries a second, 256 observations, d = 3, {count:,} queries", ["method", "queries / s"], rows)


def machine() -> str:
    """Say where the figures were taken."""
    python, threads = platform.python_version(), torch.get_num_threads()
    return f"torch {torch.__version__}, {threads} threads, {platform.machine()}, Python {python}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurements; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m cst_lightning.benchmark.speed", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for speed.md and speed.json")
    parser.add_argument("--quick", action="store_true", help="small sizes, two repeats, nothing compiled")
    parser.add_argument("--once", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        sys.stdout.write(json.dumps(once(*options.once)) + "\n")
        return 0
    repeats = 2 if options.quick else 15
    asked = (1000, 2000) if options.quick else (1000, 10_000, 100_000, 1_000_000)
    seen = (128,) if options.quick else (256, 1024, 4096, 16_384)
    tables = [
        derivative_costs(repeats, compiled=not options.quick),
        dimension_costs(repeats),
        growth("Queries", [(n, 256, 0) for n in asked], 1 if options.quick else 3),
        growth("Observations", [(1000, n, m) for n in seen for m in (0, 128)], 1 if options.quick else 3),
        against_scipy(1000 if options.quick else 16_384),
    ]
    text = "\n".join([f"Measured with {machine()}; medians, methods in turn.", "", *(t.markdown() for t in tables)])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.md").write_text(text, encoding="utf-8")
    (options.out / "speed.json").write_text(json.dumps([t._asdict() for t in tables], indent=1), encoding="utf-8")
    console = Console()
    console.print(Markdown(text))
    console.print(f"Written to {options.out / 'speed.md'} and speed.json", highlight=False)
    return 0


def _backward(loss: Callable[..., Tensor], net: CSTNetwork, *rest: Any) -> None:
    net.zero_grad(set_to_none=True)
    loss(net, *rest).backward()


def _ratios(times: Sequence[float], base: float) -> list[str]:
    return [f"{t / base:.2f}" for t in times]


if __name__ == "__main__":
    raise SystemExit(main())
