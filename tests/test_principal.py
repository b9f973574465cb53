"""Functional principal components: what they recover, the posterior in closed form, its jets, and bad input."""

import math

import numpy as np
import pytest
import torch

from cst_lightning import jets, principal


def curves(samples, points, noise=0.0, seed=0):
    """Return irregular times (S, N, 1) of curves z1 sin(2 t) + z2 (t + t^2), values (S, N, 2), and the scores."""
    generator = torch.Generator().manual_seed(seed)
    times = 2 * torch.rand(samples, points, 1, generator=generator) - 1
    scores = torch.randn(samples, 2, generator=generator)
    values = truth(times, scores) + noise * torch.randn(samples, points, 2, generator=generator)
    return times, values, scores


def truth(times, scores):
    """Return the curves (S, N, 2) at times (S, N, 1): two channels that share their scores."""
    first, second = (2 * times).sin(), times + times**2
    a, b = scores[:, None, :1], scores[:, None, 1:]
    return torch.cat([a * first + b * second + 0.5, a * second - b * first], -1)


def everything(times):
    return torch.ones(times.shape[:2], dtype=torch.bool)


def learned(samples=80, points=6, noise=0.05):
    times, values, _ = curves(samples, points, noise)
    return principal.learn(times, values, everything(times))


def test_few_points_give_the_whole_curve_where_many_others_were_seen():
    found = learned()
    times, values, scores = curves(20, 4, noise=0.05, seed=1)
    query = torch.linspace(-0.9, 0.9, 50)[None, :, None].expand(20, -1, -1)
    answer = found.posterior(times, values, everything(times))(query[None])[0]
    error = (answer - truth(query, scores)).square().mean().sqrt()
    straight = np.stack([
        [np.interp(q, *zip(*sorted(zip(t.tolist(), v.tolist(), strict=True)), strict=True)) for v in y.T]
        for t, y, q in zip(times[..., 0], values, query[..., 0].numpy(), strict=True)
    ])  # fmt: skip
    reference = (torch.tensor(straight).mT - truth(query, scores)).square().mean().sqrt()
    assert error < 0.08
    assert error < 0.2 * reference


def test_the_number_of_components_and_the_noise_are_found():
    found = learned(120, 8, 0.1)
    assert 2 <= len(found.functions) - 1 <= 4
    torch.testing.assert_close(found.noise, torch.full((2,), 0.1, dtype=torch.float64), rtol=0.15, atol=0)


def test_the_posterior_is_that_of_a_gaussian_process_with_the_components_covariance():
    found = learned()
    times, values, _ = curves(1, 5, seed=2)
    query = torch.tensor([[[-0.3], [0.7]]])
    answer = found.posterior(times, values, everything(times))(query[None])[0, 0].double().numpy()

    def functions(t):
        angles = t.double().numpy() * found.frequencies.numpy()
        basis = np.concatenate([np.ones_like(angles[:, :1]), np.sin(angles), np.cos(angles)], 1)
        return np.einsum("nf,rfc->rnc", basis, found.functions.numpy()).reshape(len(found.functions), -1)

    seen, asked = functions(times[0]), functions(query[0])
    covariance = seen[:-1].T @ seen[:-1] + np.diag(np.tile(found.noise.numpy() ** 2, 5))
    rest = values[0].double().numpy().ravel() - seen[-1]
    expected = asked[-1] + asked[:-1].T @ seen[:-1] @ np.linalg.solve(covariance, rest)
    np.testing.assert_allclose(answer.ravel(), expected, rtol=1e-4, atol=1e-5)


def test_of_dense_clean_curves_they_span_what_a_singular_value_decomposition_does(monkeypatch):
    monkeypatch.setattr(principal, "_RANKS", (2, 3, 4))  # without noise a larger number costs time and adds zeros
    times = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    angles = torch.pi * times * torch.tensor([1.0, 1.5, 2.0])  # of the series, as is the mean
    functions = torch.stack([angles.sin(), angles.cos()], 1)  # (N, c, 3)
    scores = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.einsum("sr,ncr->snc", scores, functions) + (torch.pi / 2 * times).sin()
    coords = times.expand(40, -1, -1)
    found = principal.learn(coords, values, everything(coords))
    basis = principal._basis(times, found.frequencies)
    rows = values.flatten(1).numpy()
    theirs = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:3].T
    ours, sizes, _ = np.linalg.svd(torch.einsum("nf,rfc->ncr", basis, found.functions[:-1]).flatten(0, 1).numpy())
    assert sizes[2] > 1e6 * max(sizes[3:], default=0)
    np.testing.assert_allclose(ours[:, :3] @ ours[:, :3].T, theirs @ theirs.T, atol=1e-4)


def test_jets_are_the_derivatives_by_autograd():
    found = learned()
    times, values, _ = curves(2, 5, seed=3)
    function = found.posterior(times.double(), values.double(), everything(times))
    query = torch.linspace(-1, 1, 7, dtype=torch.float64)[None, :, None].repeat(2, 1, 1).requires_grad_()
    first = torch.autograd.grad(function(query[None])[0, ..., 0].sum(), query, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), query)[0]
    jet = jets.derivatives(function(jets.variable(query.detach(), torch.ones_like(query), 2)))
    torch.testing.assert_close(jet[1, ..., :1], first.detach())
    torch.testing.assert_close(jet[2, ..., :1], second)


def test_padding_counts_for_nothing():
    found = learned()
    times, values, _ = curves(3, 5, seed=4)
    mask = everything(times)
    mask[1, 3:] = False
    answer = found.posterior(times, values, mask)(times[None])[0]
    values[1, 3:], times[1, 3:] = 9.0, 0.5
    again = found.posterior(times, values, mask)(times[None])[0]
    torch.testing.assert_close(answer[[0, 2]], again[[0, 2]])
    torch.testing.assert_close(answer[1, :3], again[1, :3])
    alone = found.posterior(times[1:2, :3], values[1:2, :3], mask[1:2, :3])(times[None, 1:2])[0]
    torch.testing.assert_close(alone, again[1:2])


def test_a_period_is_kept():
    times, values, _ = curves(40, 8)
    around = torch.cat([(math.pi * times).sin(), (math.pi * times).cos()], -1) * values[:, :1]
    found = principal.learn(times, around, everything(times), period=2.0)
    function = found.posterior(times, around, everything(times))
    torch.testing.assert_close(function(times[None]), function(times[None] + 2), rtol=1e-3, atol=1e-4)
    seam = torch.tensor([[[0.97], [1.02]]]).expand(40, -1, -1)
    expected = torch.cat([(math.pi * seam).sin(), (math.pi * seam).cos()], -1) * values[:, :1]
    assert (function(seam[None])[0] - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize("shape", [(1, 5, 1), (4, 5, 2)])
def test_one_curve_or_a_plane_is_refused(shape):
    coords = torch.rand(shape)
    with pytest.raises(ValueError, match="expected \\(sample, point, 1\\) with at least 2 samples"):
        principal.learn(coords, coords[..., :1], everything(coords))
