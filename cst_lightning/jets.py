r"""Truncated Taylor arithmetic ("jets"), and the rules a transformer needs.

A jet of order k is a tensor with a leading axis of k + 1 Taylor coefficients along one line:
``x(t) = x[0] + x[1] t + ... + x[k] t^k + O(t^(k+1))``, so the n-th derivative at t = 0 is ``n! x[n]``. Every function
here maps the coefficients of its input to those of its output, exactly, by the standard recurrences (Griewank and
Walther, Evaluating Derivatives, 2nd ed., chapter 13). The arithmetic costs (k + 1) times the plain one in matrix
products, and a reverse pass through it is one ordinary reverse pass. Nothing here knows of CST.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def constant(value: Tensor, order: int) -> Tensor:
    """Return the jet (k + 1, ...) of something that does not move."""
    return torch.cat([value[None], value.new_zeros((order, *value.shape))])


def variable(value: Tensor, direction: Tensor, order: int) -> Tensor:
    """Return the jet (k + 1, ...) of ``value + t * direction``."""
    if order == 0:
        return value[None]
    rest = value.new_zeros((order - 1, *value.shape))
    return torch.cat([value[None], direction.expand_as(value)[None], rest])


def derivatives(jet: Tensor) -> Tensor:
    """Return derivatives of order 0..k, (k + 1, ...), from Taylor coefficients."""
    factorials = jet.new_tensor([math.factorial(n) for n in range(len(jet))])
    return jet * factorials.view(-1, *(1,) * (jet.ndim - 1))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply ``x @ weight.T + bias`` to all orders in one product; the bias moves order 0 only."""
    out = F.linear(x, weight)
    if bias is None:
        return out
    return shift(out, bias)


def shift(x: Tensor, offset: Tensor) -> Tensor:
    """Add something constant along the line: order 0 only."""
    if len(x) == 1:
        return x + offset
    return torch.cat([x[:1] + offset, x[1:]])


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """Multiply two jets: the convolution of their coefficients."""
    a, b = x.unbind(), y.unbind()
    return torch.stack([sum_of([a[m] * b[n - m] for m in range(n + 1)]) for n in range(len(a))])


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Divide two jets; ``y[0]`` must not be 0."""
    a, b = x.unbind(), y.unbind()
    inverse = b[0].reciprocal()
    out: list[Tensor] = []
    for n in range(len(a)):
        out.append(sum_of([a[n], *(-b[m] * out[n - m] for m in range(1, n + 1))]) * inverse)
    return torch.stack(out)


def exp(x: Tensor) -> Tensor:
    """Exponentiate a jet."""
    base = x[0].exp()
    return torch.stack([base, *(base * r for r in _relative_exp(x.unbind())[1:])])


def sin_cos(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sine and the cosine of a jet."""
    a = x.unbind()
    sine, cosine = [a[0].sin()], [a[0].cos()]
    for n in range(1, len(a)):
        sine.append(sum_of([m * a[m] * cosine[n - m] for m in range(1, n + 1)]) / n)
        cosine.append(-sum_of([m * a[m] * sine[n - m] for m in range(1, n + 1)]) / n)
    return torch.stack(sine), torch.stack(cosine)


def log(x: Tensor) -> Tensor:
    """Return the natural logarithm of a jet; ``x[0]`` must be positive."""
    a = x.unbind()
    inverse = a[0].reciprocal()
    out = [a[0].log()]
    for n in range(1, len(a)):
        out.append(sum_of([a[n], *(-(m / n) * out[m] * a[n - m] for m in range(1, n))]) * inverse)
    return torch.stack(out)


def power(x: Tensor, exponent: float) -> Tensor:
    """Raise a jet to a real power; ``x[0]`` must be positive unless the exponent is a natural number and k = 0."""
    a = x.unbind()
    inverse = a[0].reciprocal() if len(a) > 1 else a[0]
    out = [a[0] ** exponent]
    for n in range(1, len(a)):
        terms = [((exponent + 1) * m / n - 1) * a[m] * out[n - m] for m in range(1, n + 1)]
        out.append(sum_of(terms) * inverse)
    return torch.stack(out)


def compose(outer: Sequence[Tensor], x: Tensor) -> Tensor:
    """Compose a scalar function with a jet by Horner's scheme.

    Args:
        outer: k + 1 Taylor coefficients ``f^(n)(x[0]) / n!`` of the outer function.
        x: jet (k + 1, ...).

    Returns:
        Jet (k + 1, ...) of ``f(x(t))``.
    """
    delta, order = x.unbind(), len(x) - 1
    out: list[Tensor] = [outer[order]]  # lowest power first; each round multiplies by delta, which starts at order 1
    for m in range(order - 1, -1, -1):
        rounds = range(1, order - m + 1)
        out = [
            outer[m],
            *(sum_of([delta[i] * out[n - i] for i in range(1, n + 1) if n - i < len(out)]) for n in rounds),
        ]
    return torch.stack(out)


def gelu(x: Tensor) -> Tensor:
    r"""Apply the exact GELU, ``x Phi(x)``, to a jet.

    By Leibniz ``g^(n) = x Phi^(n) + n Phi^(n-1)``, with ``Phi^(n) = (-1)^(n-1) He_(n-1) phi`` for n >= 1 (probabilists'
    Hermite polynomials, phi the normal density).
    """
    base = x[0]
    if len(x) == 1:
        return F.gelu(base)[None]
    cdf = 0.5 * (1 + torch.erf(base * math.sqrt(0.5)))
    density = torch.exp(-0.5 * base * base) * (1 / math.sqrt(2 * math.pi))
    cdf_derivatives, hermite = [cdf], [torch.ones_like(base), base]
    for n in range(1, len(x)):
        cdf_derivatives.append((-1) ** (n - 1) * hermite[n - 1] * density)
        hermite.append(base * hermite[n] - n * hermite[n - 1])
    outer = [base * cdf]
    for n in range(1, len(x)):
        outer.append((base * cdf_derivatives[n] + n * cdf_derivatives[n - 1]) / math.factorial(n))
    return compose(outer, x)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise a jet over its last axis, as `torch.nn.LayerNorm` does at order 0."""
    if len(x) == 1:
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    centred = x - x.mean(-1, keepdim=True)
    inverse = power(shift(_mean_square(centred), x.new_tensor(eps)), -0.5)
    return shift(multiply(centred, inverse) * weight, bias)


def attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Attend from a moving query to a memory that stands still.

    ``softmax(scale q(t) k^T) v``: the exponentials' series weigh the values in one product over all orders, and the
    division by their sum is done on the E_v outputs instead of the N weights. At k = 0 the fused kernel is used; it has
    no higher derivatives, which is why the other orders spell the softmax out.

    Args:
        query: jet (k + 1, B, H, Q, E).
        keys: (B, H, N, E).
        values: (B, H, N, E_v), E_v <= E.
        mask: bool, broadcastable to (B, H, Q, N), True where attention is allowed; every query needs one such key.
        scale: 1 / sqrt(E) when omitted.

    Returns:
        Jet (k + 1, B, H, Q, E_v).
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if len(query) == 1:
        # The fused kernel wants one size for keys and values; without it, memory grows with Q times N.
        padded = F.pad(values, (0, keys.shape[-1] - values.shape[-1]))
        out = F.scaled_dot_product_attention(query[0], keys, padded, attn_mask=mask, scale=scale)
        return out[None, ..., : values.shape[-1]]
    scores = torch.matmul(query * scale, keys.transpose(-1, -2))
    base = scores[0] if mask is None else scores[0].masked_fill(~mask, -math.inf)
    base = (base - base.amax(-1, keepdim=True).detach()).exp()
    weights = torch.stack([base, *(base * r for r in _relative_exp(scores.unbind())[1:])])
    return divide(torch.matmul(weights, values), weights.sum(-1, keepdim=True))


def directions(order: int, dimension: int) -> list[tuple[int, ...]]:
    """Return the lattice directions whose order-th derivatives give all mixed ones: the multi-indices of that order."""
    return [q for q in product(range(order + 1), repeat=dimension) if sum(q) == order]


def mixing(order: int, lines: Sequence[Sequence[int]]) -> Tensor:
    r"""Return the matrix that turns directional derivatives into mixed ones.

    Along direction v the n-th Taylor coefficient is ``sum_q D^q f v^q / q!``, |q| = n. With as many lattice directions
    as multi-indices the system is square and regular (Griewank, Utke and Walther, Math. Comp. 69, 2000); directions
    made for a higher order serve the lower ones by least squares, which is exact as well.

    Args:
        order: n >= 1.
        lines: R directions of d numbers, as from `directions(k, d)` with k >= n.

    Returns:
        (M, R) float64, M = C(n + d - 1, n): row = multi-index in the order of `directions(n, d)`, column = direction.
    """
    indices = directions(order, len(lines[0]))
    system = [
        [math.prod(v**e / math.factorial(e) for v, e in zip(line, q, strict=True)) for q in indices] for line in lines
    ]
    return torch.linalg.pinv(torch.tensor(system, dtype=torch.float64))


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """Add tensors without starting from the integer 0, which would cost a kernel."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _relative_exp(a: Sequence[Tensor]) -> list[Tensor]:
    """Return the series of ``exp(a(t) - a(0))``; its first entry, 1, is never multiplied."""
    out: list[Tensor] = [torch.ones((), dtype=a[0].dtype, device=a[0].device)]
    for n in range(1, len(a)):
        out.append(sum_of([a[n], *((m / n) * a[m] * out[n - m] for m in range(1, n))]))
    return out


def _mean_square(x: Tensor) -> Tensor:
    """Return the mean over the last axis of a jet's square, (k + 1, ..., 1); symmetric products are taken once."""
    a = x.unbind()
    out = []
    for n in range(len(a)):
        pairs = [(2 if m < n - m else 1) * a[m] * a[n - m] for m in range(n // 2 + 1)]
        out.append(sum_of(pairs).mean(-1, keepdim=True))
    return torch.stack(out)
