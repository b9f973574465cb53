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
from typing import Any

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
    out: Tensor = _run(_Shift, x, offset)
    return out


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """Multiply two jets: the convolution of their coefficients."""
    out: Tensor = _run(_Multiply, x, y)
    return out


def divide(x: Tensor, y: Tensor) -> Tensor:
    """Divide two jets; ``y[0]`` must not be 0."""
    return multiply(x, reciprocal(y))


def reciprocal(x: Tensor) -> Tensor:
    """Return one over a jet; ``x[0]`` must not be 0."""
    a = x.unbind()
    out = [a[0].reciprocal()]
    for n in range(1, len(a)):
        out.append(-dot(a[1 : n + 1], out[::-1]) * out[0])
    return torch.stack(out)


def exp(x: Tensor) -> Tensor:
    """Exponentiate a jet."""
    out: Tensor = _run(_Exp, x)
    return out


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
    """Compose a scalar function with a jet: its Taylor polynomial in the powers of x(t) - x(0).

    Args:
        outer: k + 1 Taylor coefficients ``f^(n)(x[0]) / n!`` of the outer function.
        x: jet (k + 1, ...).

    Returns:
        Jet (k + 1, ...) of ``f(x(t))``.
    """
    delta, order = x.unbind(), len(x) - 1
    out = [outer[0], *(outer[1] * d for d in delta[1:])]
    power = dict(enumerate(delta))  # of x(t) - x(0): its n-th power starts at order n
    for n in range(2, order + 1):
        power = {m: dot(delta[1 : m - n + 2], [power[m - i] for i in range(1, m - n + 2)]) for m in range(n, order + 1)}
        for m, term in power.items():
            out[m] = torch.addcmul(out[m], outer[n], term)
    return torch.stack(out)


def gelu(x: Tensor) -> Tensor:
    r"""Apply the exact GELU, ``x Phi(x)``, to a jet.

    By Leibniz ``g^(n) = x Phi^(n) + n Phi^(n-1)``; with ``Phi^(n) = (-1)^(n-1) He_(n-1) phi`` (probabilists' Hermite
    polynomials, phi the normal density) and their recurrence, ``g^(n) = (-1)^(n-1) (He_n - He_(n-2)) phi`` for n >= 2.
    """
    if len(x) == 1:
        return F.gelu(x)
    out: Tensor = _run(_GELU, x)
    return out


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise a jet over its last axis, as `torch.nn.LayerNorm` does at order 0."""
    if len(x) == 1:
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    normed: Tensor = _run(_Standardise, x, eps)[0]
    return shift(normed * weight, bias)


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
    # Orders beside queries, so that one product serves all of them without a copy of the memory for each.
    rows = (query * scale).movedim(0, -3)
    scores = torch.matmul(rows.flatten(-3, -2), keys.transpose(-1, -2)).unflatten(-2, rows.shape[-3:-1])
    weights: Tensor = _run(_RelativeExp, scores.movedim(-3, 0), mask)
    # A column of ones beside the values gives the sum of the weights in the same product.
    read = torch.matmul(weights.movedim(0, -3).flatten(-3, -2), F.pad(values, (0, 1), value=1.0))
    read = read.unflatten(-2, rows.shape[-3:-1]).movedim(-3, 0)
    return divide(*read.split([values.shape[-1], 1], -1))


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


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return ``a[0] b[0] + a[1] b[1] + ...`` with one kernel a product; all products must have one shape."""
    total = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = torch.addcmul(total, left, right)
    return total


def transposed(g: Tensor, y: Tensor) -> Tensor:
    """Return the transpose of `multiply(., y)` applied to g: ``out[m] = sum_n g[n] y[n - m]``."""
    out = g * y[0]
    for n in range(1, len(g)):
        out[:-n].addcmul_(g[n:], y[n])
    return out


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """Add tensors without starting from the integer 0, which would cost a kernel."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


# A map of jets z = f(x) has dz_n / dx_m = f'(x)_(n-m), the jet of the derivative, so one short sum over orders is its
# reverse pass. Left to autograd, every product of the recurrences is recorded and undone on its own, which costs two
# to three times as much. All backward methods are made of differentiable operations: they can be differentiated again.


def _run(rule: type[torch.autograd.Function], *inputs: Any) -> Any:
    """Apply a rule with its own reverse pass; a compiler derives and fuses its own from the same forward pass."""
    return rule.forward(*inputs) if torch.compiler.is_compiling() else rule.apply(*inputs)


class _Shift(torch.autograd.Function):
    """Order 0 plus a constant; slices of a jet, left to autograd, would be undone by filling whole jets with zeros."""

    @staticmethod
    def forward(x: Tensor, offset: Tensor) -> Tensor:
        return torch.cat([x[:1] + offset, x[1:]])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.size = inputs[1].shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        return grad, grad[0].sum_to_size(ctx.size) if ctx.needs_input_grad[1] else None


class _Multiply(torch.autograd.Function):
    """Product of two jets."""

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        a, b = x.unbind(), y.unbind()
        return torch.stack([dot(a[: n + 1], b[n::-1]) for n in range(len(a))])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        to_x, to_y = ctx.needs_input_grad
        return (
            transposed(grad, y).sum_to_size(x.shape) if to_x else None,
            transposed(grad, x).sum_to_size(y.shape) if to_y else None,
        )


class _Exp(torch.autograd.Function):
    """Exponential of a jet."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _exp_series(x[0].exp(), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return transposed(grad, ctx.saved_tensors[0])


class _RelativeExp(torch.autograd.Function):
    """Exponential of a jet after subtracting the last axis' maximum of order 0; 0 where the mask is False."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor | None) -> Tensor:
        base = x[0] if mask is None else x[0].masked_fill(~mask, -math.inf)
        return _exp_series((base - base.amax(-1, keepdim=True).detach()).exp(), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return transposed(grad, ctx.saved_tensors[0]), None


class _GELU(torch.autograd.Function):
    """GELU of a jet."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return compose(_gelu_taylor(x[0], len(x)), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outer = _gelu_taylor(x[0], len(x) + 1)
        return transposed(grad, compose([n * f for n, f in enumerate(outer)][1:], x))


class _Standardise(torch.autograd.Function):
    """A jet minus its mean over its standard deviation, over the last axis.

    With c the centred jet, r = (mean c^2 + eps)^(-1/2) and y = c r, truncated series being a commutative algebra,
    ``dy = r (dc - y mean(y dc))`` as for numbers; the reverse pass is that with every product transposed.
    """

    @staticmethod
    def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        centred = x - x.mean(-1, keepdim=True)
        inverse = power(shift(_Multiply.forward(centred, centred).mean(-1, keepdim=True), x.new_tensor(eps)), -0.5)
        return _Multiply.forward(centred, inverse), inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)
        ctx.set_materialize_grads(False)  # nobody reads the second output, unless this pass is itself differentiated

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, more: Tensor | None) -> tuple[Tensor, None]:
        normed, inverse = ctx.saved_tensors
        inner = transposed(torch.zeros_like(normed) if grad is None else grad, inverse)
        centred = inner - transposed(transposed(inner, normed).mean(-1, keepdim=True), normed)
        if more is not None:  # dr = -r^2 mean(y dc)
            centred = centred - transposed(transposed(more, multiply(inverse, inverse)) / normed.shape[-1], normed)
        return centred - centred.mean(-1, keepdim=True), None


def _exp_series(base: Tensor, x: Tensor) -> Tensor:
    """Return the jet of ``exp(x(t))`` times the constant that makes its first entry `base`."""
    a, out = x.unbind(), [base]
    for n in range(1, len(a)):
        out.append(dot([a[m] if m == n else (m / n) * a[m] for m in range(n, 0, -1)], out))
    return torch.stack(out)


def _gelu_taylor(base: Tensor, count: int) -> list[Tensor]:
    """Return the first Taylor coefficients of GELU at `base`, `count` of them."""
    density = torch.exp(-0.5 * base * base) * (1 / math.sqrt(2 * math.pi))
    cdf = 0.5 * (1 + torch.erf(base * math.sqrt(0.5)))
    hermite, outer = [torch.ones_like(base), base], [base * cdf, torch.addcmul(cdf, base, density)]
    for n in range(2, count):
        hermite.append(base * hermite[n - 1] - (n - 1) * hermite[n - 2])
        outer.append((hermite[n] - hermite[n - 2]) * density * ((-1) ** (n - 1) / math.factorial(n)))
    return outer
