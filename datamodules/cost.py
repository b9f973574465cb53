"""About how long a step of training takes."""

from __future__ import annotations

# Operations a second of one thread, and what a step costs beside them: measured at nine sizes, right within 30 %.
_SPEED, _OVERHEAD = 3.5e10, 0.045
# Seconds that an initialiser takes for one shown and one asked point, measured with inverse distances.
_PAIR = 4e-8


def step_seconds(
    batch: int,
    shown: int,
    asked: int,
    dummies: int,
    width: int,
    depth: int,
    order: int = 2,
    latents: int = 0,
    training: bool = True,
) -> float:
    """Return about how long one step takes on one thread.

    Args:
        batch: B samples.
        shown: N points in the context.
        asked: Q targets.
        dummies: D, of which derivatives are taken.
        width: W of the tokens.
        depth: layers.
        order: k of the derivatives.
        latents: M tokens to which the context is compressed; 0 if it is not.
        training: forward and back, else forward only and no dummies.
    """
    # a query whose derivatives are taken is k + 1 queries
    queries = asked + ((order + 1) * dummies if training else 0)
    keys = latents or shown
    linear = (keys + queries) * 12 * width**2
    attention = 2 * width * keys * (keys + queries)
    compression = (2 * width * latents * shown + 4 * width**2 * shown) if latents else 0
    network = 2 * (3 if training else 1) * batch * (depth * (linear + attention) + compression) / _SPEED
    # a distance between each shown and asked point, forward only
    return _OVERHEAD + network + _PAIR * batch * shown * queries
