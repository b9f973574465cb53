r"""The initialiser `gp`: posterior means of Gaussian processes whose hyperparameters are trained with the network.

Where observations are noisy, what goes through all of them is a bad start, and a network that reads few of them cannot
learn how much to smooth as surely as a handful of numbers can. Here several processes (short, middle and long lengths)
each give their posterior mean ``k(x, X) (K + s^2 I)^-1 y``, and every channel mixes them in shares of its own. Lengths,
shape, noise and shares are parameters like all others: the loss at hidden points finds them.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 2.2 and equation 4.19.
Sizes: B batch, N context points, Q queries, d coordinates, e of them after winding, c channels, R processes, k order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cst_lightning import scatter
from cst_lightning.scatter import Periods

# Of the lengths to begin with, as parts of an axis' half width; what is learned moves from there.
_LENGTHS = (0.15, 0.4, 1.0)
_NOISE = 0.1
_SHAPE = 2.0
# Without it a sample that is fitted exactly would have weights that float32 cannot add up.
_LEAST_NOISE = 3e-3
#: Learning rate of the logarithms, at its peak, whatever that of the network is: an optimiser's step moves a parameter
#: by about the rate, and these have factors of ten to go.
RATE = 0.1


class Smooth(NamedTuple):
    """A mixture of posterior means; a function of a query jet, see `cst_lightning.interpolate.Interpolant`.

    Attributes:
        places: (B, R, N, e) wound points over the processes' lengths.
        weights: (B, R N, c); 0 in the padding.
        rates: (B, R, e) 1 over the lengths.
        shape: (B, R) exponents of the kernels.
        periods: d periods in the units of the coordinates, None on a plain axis.
    """

    places: Tensor
    weights: Tensor
    rates: Tensor
    shape: Tensor
    periods: tuple[float | None, ...]

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c)."""
        wound = scatter.wind(query, self.periods)
        orders: list[list[Tensor]] = []
        for places, rate, shape in zip(self.places.unbind(1), self.rates.unbind(1), self.shape.unbind(1), strict=True):
            shape = shape[:, None, None]
            square = scatter.squared_distances(wound * rate[:, None], places, 2 * shape)
            orders.append(_kernel(square, shape))
        kernels = [torch.cat(parts, -1) for parts in zip(*orders, strict=True)]
        return scatter.weighted(kernels, self.weights)


class Hyperparameters(NamedTuple):
    """Of R processes.

    Attributes:
        lengths: (R, d) of the kernel, an axis each.
        noise: (R,) standard deviation of an observation's noise over that of the process.
        shape: (R,) a of the kernel: the smaller, the more long and short ranges it mixes.
        shares: (R, c) how much of each a channel takes, with sum 1.
    """

    lengths: Tensor
    noise: Tensor
    shape: Tensor
    shares: Tensor


class GaussianProcesses(nn.Module):
    """Trainable `Hyperparameters` for normalised coordinates and values; calling it is `posterior`.

    Args:
        dimension: d.
        channels: c.
    """

    def __init__(self, dimension: int, channels: int) -> None:
        super().__init__()
        start = beginning(dimension, channels)
        # one axis more than they need, because weight decay is for matrices
        self.log_lengths = nn.Parameter(start.lengths.log()[None])
        self.log_noise = nn.Parameter((start.noise - _LEAST_NOISE).log())
        self.log_shape = nn.Parameter(start.shape.log())
        self.log_shares = nn.Parameter(torch.zeros(1, *start.shares.shape))

    @property
    def hyperparameters(self) -> Hyperparameters:
        """As they are now."""
        return Hyperparameters(
            self.log_lengths[0].exp(),
            self.log_noise.exp() + _LEAST_NOISE,
            self.log_shape.exp(),
            self.log_shares[0].softmax(0),
        )

    def forward(self, coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Smooth:
        """Solve for each sample of a padded batch; arguments as of `posterior`."""
        return posterior(coords, values, mask, periods, self.hyperparameters)


def beginning(dimension: int, channels: int) -> Hyperparameters:
    """Return what training starts from: three lengths, little noise, equal shares."""
    count = len(_LENGTHS)
    return Hyperparameters(
        torch.tensor(_LENGTHS)[:, None].repeat(1, dimension),
        torch.full((count,), _NOISE),
        torch.full((count,), _SHAPE),
        torch.full((count, channels), 1 / count),
    )


def posterior(
    coords: Tensor, values: Tensor, mask: Tensor, periods: Periods, hyper: Hyperparameters | None = None
) -> Smooth:
    """Solve for each sample of a padded batch, in float64 where the device has it; costs N^3 a process.

    The kernel is the rational quadratic ``(1 + r^2 / (2 a))^-a``, ``r^2 = sum_i (x_i - y_i)^2 / l_i^2``: a scale
    mixture of Gaussians, smooth everywhere, whose jets are powers.

    Args:
        coords: (B, N, d).
        values: (B, N, c), of mean about 0 and variance about 1, what the processes expect far from any observation.
        mask: (B, N) bool, True where real.
        periods: d periods, None for a plain axis.
        hyper: `beginning` if None.
    """
    hyper = beginning(coords.shape[-1], values.shape[-1]) if hyper is None else hyper
    hyper = Hyperparameters(*(part.to(coords.device, coords.dtype) for part in hyper))
    wound, values, mask = scatter.merge(scatter.wind(coords[None], periods)[0], values, mask)
    # both coordinates of a circle have its length
    columns = [axis for axis, period in enumerate(periods) for _ in range(1 if period is None else 2)]
    rates = hyper.lengths.reciprocal()[:, columns]
    places = wound[:, None] * rates[:, None]
    flat, shape = scatter.precise(places.flatten(0, 1)), scatter.precise(hyper.shape)[:, None, None]
    square = scatter.squared_distances(flat[None], flat, shape.new_zeros(()))[0].unflatten(0, places.shape[:2])
    kernel = torch.where(mask[:, None, :, None] & mask[:, None, None], (1 + square / (2 * shape)) ** -shape, 0)
    noise = torch.where(mask[:, None], scatter.precise(hyper.noise).square()[:, None], 1)
    right = scatter.precise(values)[:, None].expand(-1, len(rates), -1, -1)
    solved = _solution(kernel + torch.diag_embed(noise), right)
    weights = (solved.to(values.dtype) * hyper.shares[:, None]).flatten(1, 2)
    size = len(coords)
    return Smooth(places, weights, rates.expand(size, -1, -1), hyper.shape.expand(size, -1), tuple(periods))


def _solution(matrix: Tensor, right: Tensor) -> Tensor:
    """Return ``A^-1 y`` of positive definite A (..., N, N) and y (..., N, c), with a first derivative and no second.

    Back through the factor costs several times N^3. One step of refinement from a solution without a gradient has the
    same derivative, ``A^-1 (dy - dA A^-1 y)``, for N^2: of 380 points it takes half as long, forth and back.
    """
    with torch.no_grad():
        factor = torch.linalg.cholesky(matrix)
        solved = torch.cholesky_solve(right, factor)
    return solved + torch.cholesky_solve(right - matrix @ solved, factor)


def _kernel(square: list[Tensor], shape: Tensor) -> list[Tensor]:
    """Return the jets of ``(s / (2 a))^-a`` from those of ``s = 2 a + r^2``."""
    inverse = square[0].reciprocal()
    out = [(2 * shape * inverse) ** shape]
    for n in range(1, len(square)):
        total = -shape * square[n] * out[0]
        for m in range(1, n):
            total = total + ((1 - shape) * m / n - 1) * square[m] * out[n - m]
        out.append(total * inverse)
    return out
