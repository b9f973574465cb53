"""Exact Gaussian-process regression, through gpytorch, behind the interface of the interpolants."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cst_lightning.baselines.interpolation import Array, Example, Periods, distinct
from cst_lightning.datamodules.readers.optional import lazy_import

# Queries whose covariances, a square matrix, are held at a time.
_TOGETHER = 512
# Entries of the covariance matrices of samples that are solved at once.
_ENTRIES = 2**21


class Hyperparameters(NamedTuple):
    """What the marginal likelihood is maximised over, and the units in which it is.

    Attributes:
        lengths: (m, d) lengthscales, in the units of the coordinates; m is c, or 1 if all channels share them.
        scale: (m,) standard deviations of the process.
        noise: (m,) standard deviations of the observations' noise.
        units: means and spreads (c,): scale and noise are those of values less the first, over the second; those of
            each sample if None.
    """

    lengths: Array
    scale: Array
    noise: Array
    units: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class GaussianProcess:
    r"""The posterior mean of a Gaussian process with zero mean and a stationary kernel, each channel on its own.

    ``k(x, y) = s^2 g(r)``, ``r^2 = sum_a |phi_a(x_a) - phi_a(y_a)|^2 / l_a^2``, one lengthscale l_a an axis. phi is the
    identity, or, on an axis that repeats, the circle of that circumference, so that the process repeats exactly.
    Values are standardised. Their units are each sample's own, and lengths, scale and noise maximise its marginal
    likelihood, unless `fitted` has found some for all samples together. Costs N^3 a channel. Source: Rasmussen and
    Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.

    Attributes:
        covariance: `matern` (of smoothness 5/2, twice differentiable), `rbf`, or `likelier`: the one of the two whose
            maximised marginal likelihood is greater.
        hyper: fixed hyperparameters; found for each sample if None.
        shared: all channels have the same ones.
        steps: of the maximisation.
        subset: it looks at so many observations of a sample, drawn at random.
        fitting_samples: see `Learner`.
        most: more observations than this are an error, instead of hours.
        name: in tables.
    """

    covariance: Literal["matern", "rbf", "likelier"] = "matern"
    hyper: Hyperparameters | None = None
    shared: bool = False
    steps: int = 60
    subset: int = 256
    fitting_samples: int = 256
    most: int = 6000
    name: str = "gp"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Return the posterior mean; see `Interpolator`."""
        return self._posterior(coords, values, query, periods, spread=False)[0]

    def predict(self, coords: Array, values: Array, query: Array, periods: Periods) -> tuple[Array, Array]:
        """Return mean and standard deviation of the field at a query, without the noise of an observation there.

        Args:
            coords: (N, d), finite.
            values: (N, c), finite.
            query: (Q, d).
            periods: d periods, None for an axis that does not repeat.

        Returns:
            Two arrays (Q, c), float64.

        Raises:
            ValueError: there is no observation, or more than `most`.
            MissingPackageError: gpytorch is not installed.
        """
        return self._posterior(coords, values, query, periods, spread=True)

    def fitted(self, samples: Sequence[Example], periods: Periods) -> GaussianProcess:
        """Return the same process with the hyperparameters that suit several training samples together.

        Args:
            samples: of training, of which all is known that was observed, shown or not.
            periods: d periods.
        """
        gpytorch = _gpytorch()
        # one unit for all: in a sample where little happens, its own would make the noise as large as what happens
        known = [sample.known() for sample in samples]
        units = _units(np.concatenate([values for _, values in known]))
        pairs = [_standardised(*one, units) for one in known]
        with _exact(gpytorch):
            return self._fitted(gpytorch, pairs, periods, units)[0]

    def _fitted(
        self, gpytorch: Any, pairs: Sequence[tuple[Tensor, Tensor]], periods: Periods, units: tuple[Array, Array]
    ) -> tuple[GaussianProcess, float]:
        """Return the process that suits samples (N, d), (c, N), and their mean log marginal likelihood."""
        if self.covariance == "likelier":
            both = [replace(self, covariance=one)._fitted(gpytorch, pairs, periods, units) for one in ("matern", "rbf")]
            return max(both, key=lambda found: found[1])
        model = _process(gpytorch, *pairs[0], periods, self)
        evidence = self._maximise(gpytorch, model, pairs)
        return replace(self, hyper=model.hyper()._replace(units=units)), evidence

    def _posterior(
        self, coords: Array, values: Array, query: Array, periods: Periods, spread: bool
    ) -> tuple[Array, Array]:
        gpytorch = _gpytorch()
        if not 0 < len(coords) <= self.most:
            raise ValueError(f"coords has {len(coords)} points, expected 1 to most = {self.most} observations")
        units = (self.hyper and self.hyper.units) or _units(distinct(coords, values)[1])
        x, y = _standardised(coords, values, units)
        with _exact(gpytorch), gpytorch.settings.skip_posterior_variances(not spread):
            found_here = self if self.hyper is not None else self._fitted(gpytorch, [(x, y)], periods, units)[0]
            model = _process(gpytorch, x, y, periods, found_here)
            model.eval()
            asked = torch.from_numpy(np.asarray(query, np.float64)).split(_TOGETHER)
            with torch.no_grad():
                found = [model(part.expand(len(y), -1, -1)) for part in asked]
                answer = torch.cat([part.mean for part in found], -1).T.numpy()
                error = torch.cat([part.variance for part in found], -1).T.sqrt().numpy() if spread else 0 * answer
        return units[0] + units[1] * answer, units[1] * error

    def _maximise(self, gpytorch: Any, model: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
        """Maximise the mean log marginal likelihood of samples (N, d), (c, N), and return what it was at the last."""
        evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
        some = _stacked([self._drawn(x, y) for x, y in pairs])
        total = 0.0
        for _ in range(self.steps):
            optimizer.zero_grad()
            total = 0.0
            for x, y in some:
                model.set_train_data(x, y, strict=False)
                loss = -evidence(model(x), y).sum()
                loss.backward()
                total -= float(loss.detach())
            optimizer.step()
        return total / len(pairs)

    def _drawn(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if len(x) <= self.subset:
            return x, y
        kept = torch.from_numpy(np.random.default_rng(0).choice(len(x), self.subset, replace=False))
        return x[kept], y[:, kept]


def _gpytorch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it calls in torch
        return lazy_import("gpytorch", "baselines")


def _units(values: Array) -> tuple[Array, Array]:
    """Return means and spreads (c,) of values (N, c), 1 for a spread of 0."""
    values = np.asarray(values, np.float64)
    spread = values.std(0)
    return values.mean(0), np.where(spread > 0, spread, 1.0)


def _standardised(coords: Array, values: Array, units: tuple[Array, Array]) -> tuple[Tensor, Tensor]:
    """Return coordinates (N, d), no two equal, and values (c, N) in these units."""
    coords, values = distinct(np.asarray(coords, np.float64), np.asarray(values, np.float64))
    return torch.from_numpy(coords), torch.from_numpy((values - units[0]) / units[1]).T


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Stack samples (N, d), (c, N) of as many observations each: (S, c, N, d) and (S, c, N), S bounded by memory."""
    sizes: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for x, y in pairs:
        sizes.setdefault(len(x), []).append(_expanded(x, y))
    stacks = []
    for size, group in sizes.items():
        count = max(1, _ENTRIES // (size**2 * len(group[0][1])))
        for first in range(0, len(group), count):
            xs, ys = zip(*group[first : first + count], strict=True)
            stacks.append((torch.stack(xs), torch.stack(ys)))
    return stacks


def _expanded(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Give every channel its coordinates, (c, N, d) and (c, N)."""
    return x.expand(len(y), -1, -1), y


def _circles(x: Tensor, periods: Periods) -> tuple[Tensor, list[int]]:
    """Return features (..., F) whose distances repeat along periodic axes, and the axis that each belongs to."""
    parts, axes = [], []
    for axis, period in enumerate(periods):
        column = x[..., axis]
        turn = 2 * math.pi / period if period else 0.0
        found = [(turn * column).sin() / turn, (turn * column).cos() / turn] if period else [column]
        parts += found
        axes += [axis] * len(found)
    return torch.stack(parts, -1), axes


def _process(gpytorch: Any, x: Tensor, y: Tensor, periods: Periods, setting: GaussianProcess) -> Any:
    """Build gpytorch's model of samples (N, d), (c, N); a class in here because gpytorch need not be installed."""
    models = torch.Size([1 if setting.shared else len(y)])
    kernels = {"matern": gpytorch.kernels.MaternKernel, "rbf": gpytorch.kernels.RBFKernel}
    # hyperparameters that are given leave nothing to choose by
    base = kernels["matern" if setting.covariance == "likelier" else setting.covariance]

    class Process(gpytorch.models.ExactGP):
        def __init__(self) -> None:
            noise = gpytorch.constraints.GreaterThan(1e-8)
            super().__init__(
                *_expanded(x, y),
                gpytorch.likelihoods.GaussianLikelihood(noise_constraint=noise, batch_shape=models),
            )
            self.mean_module = gpytorch.means.ZeroMean()
            # lengths are ours: sine and cosine of one axis share theirs
            self.covar_module = gpytorch.kernels.ScaleKernel(base(), batch_shape=models)
            self.covar_module.base_kernel.lengthscale = 1.0
            self.covar_module.base_kernel.requires_grad_(False)
            self.log_lengths = torch.nn.Parameter(torch.full((*models, x.shape[-1]), math.log(0.5)))
            self.double()
            self.start()

        def start(self) -> None:
            found = setting.hyper
            if found is not None:
                self.log_lengths.data = torch.from_numpy(np.log(np.asarray(found.lengths, np.float64)))
            scale, noise = (np.ones(models), np.full(models, 0.1)) if found is None else found[1:3]
            self.covar_module.outputscale = torch.from_numpy(np.asarray(scale, np.float64) ** 2)
            self.likelihood.noise = torch.from_numpy(np.asarray(noise, np.float64) ** 2)[..., None]

        def forward(self, points: Tensor) -> Any:
            features, axes = _circles(points, periods)
            scaled = features / self.log_lengths.exp()[:, None, axes]
            return gpytorch.distributions.MultivariateNormal(self.mean_module(points), self.covar_module(scaled))

        def hyper(self) -> Hyperparameters:
            parts = self.log_lengths.exp(), self.covar_module.outputscale.sqrt(), self.likelihood.noise[..., 0].sqrt()
            lengths, scale, noise = (part.detach().numpy() for part in parts)
            return Hyperparameters(lengths, scale, noise)

    return Process()


@contextmanager
def _exact(gpytorch: Any) -> Iterator[None]:
    """Solve by Cholesky factors whatever the size; gradients on, whatever is around; no words about rounding."""
    with ExitStack() as stack:
        stack.enter_context(gpytorch.settings.fast_computations(False, False, False))
        stack.enter_context(gpytorch.settings.debug(False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield
