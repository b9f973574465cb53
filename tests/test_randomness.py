"""Draws depend on the key, the place and the stream, and on nothing else; they are normal."""

import torch

from cst_lightning.randomness import normal, sample_keys

KEYS = sample_keys(3, 1, torch.arange(6))


def test_keys_differ_by_seed_epoch_and_index() -> None:
    keys = [sample_keys(seed, epoch, torch.arange(50)) for seed in range(4) for epoch in range(4)]
    assert len(torch.cat(keys).unique()) == 4 * 4 * 50


def test_a_draw_does_not_depend_on_batch_or_padding() -> None:
    whole = normal(KEYS, (9, 2), 0, torch.float32)
    assert torch.equal(normal(KEYS[[4, 1]], (9, 2), 0, torch.float32), whole[[4, 1]])
    assert torch.equal(normal(KEYS, (20, 2), 0, torch.float32)[:, :9], whole)


def test_streams_and_samples_are_uncorrelated() -> None:
    first, second = (normal(KEYS[:2], (50_000,), stream, torch.float64) for stream in (0, 1))
    for a, b in ((first[0], first[1]), (first[0], second[0]), (first[0, :-1], first[0, 1:])):
        assert abs((a * b).mean().item()) < 5 / 50_000**0.5


def test_moments_are_those_of_a_standard_normal() -> None:
    draws = normal(KEYS, (100_000,), 0, torch.float64)
    moments = [(draws**n).mean().item() for n in (1, 2, 3, 4)]
    for found, expected, spread in zip(moments, (0, 1, 0, 3), (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
        assert abs(found - expected) < 5 * spread / 600_000**0.5
