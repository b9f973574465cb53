"""A whole recording restored: at any time of its own clock, from the windows around that time, cross-faded.

A network is trained on windows and knows no more than one at a time. Windows that overlap by half cover a recording;
a time is answered by those that have observations before and after it, each with the weight of its distance from the
nearer end of these, so that one fades out where the next one fades in and the result is continuous.
Sizes: T times, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from cst_lightning.datamodules.cutting import Window, firsts, pauses, stretches
from cst_lightning.datamodules.samples import SampleDataset

if TYPE_CHECKING:
    from cst_lightning.datamodules.windows import WindowedDataModule
    from cst_lightning.field import Field, ObservedField
    from cst_lightning.points import PointSet

#: Answers with frames (T, *space, c) at times (T,), 0 at the first frame of the window.
Restore = Callable[["ObservedField", np.ndarray], np.ndarray]

# Weight at the end of what a window has observed, over its span: a recording's ends have nothing to fade into.
_FLOOR = 1e-6


def restored(
    field: Field, data: WindowedDataModule, times: np.ndarray, restore: Restore, recording: int = 0
) -> np.ndarray:
    """Return whole frames of a recording from what of it is observed, as at the test.

    Args:
        field: trained.
        data: the recordings' module, set up.
        times: (T,) on the recording's own clock, in its unit.
        restore: asks one window.
        recording: which one.

    Returns:
        (T, *space, c), float32; NaN where no window has observations before and after: in the pauses of the clock, in
        gaps as long as a window, and outside of the recording.
    """
    total = np.zeros((len(times), *data.recordings.shape[2:]))
    weights = np.zeros(len(times))
    clock = data.recordings.axes[0].values
    for window, context in shown(data, recording):
        if not context.mask.any():
            continue
        first, seen = clock[window.start], context.coords[context.mask][:, 0].double().numpy()
        # beyond what was seen a window would extrapolate; what float32 rounds off is no distance
        slack = 1e-6 * max(abs(float(seen.min())), abs(float(seen.max())))
        start, end = first + seen.min() - slack, first + seen.max() + slack
        inside = np.flatnonzero((times >= start) & (times <= end))
        if not len(inside):
            continue
        observed = field.observe(context.coords[context.mask], context.values[context.mask])
        share = np.minimum(times[inside] - start, end - times[inside]) + _FLOOR * (end - start)
        frames = restore(observed, times[inside] - first)
        total[inside] += share.reshape(-1, *[1] * (total.ndim - 1)) * frames
        weights[inside] += share
    found = np.full(total.shape, np.nan)
    np.divide(total, weights.reshape(-1, *[1] * (total.ndim - 1)), out=found, where=_wide(weights > 0, total))
    return found.astype(np.float32)


def shown(data: WindowedDataModule, recording: int) -> Iterator[tuple[Window, PointSet]]:
    """Yield windows that cover a recording, half over half, and what is observed in each as at the test.

    Args:
        data: set up.
        recording: which one.

    Raises:
        ValueError: there is no such recording.
    """
    if not 0 <= recording < data.recordings.samples:
        raise ValueError(f"recording is {recording}, expected 0 to {data.recordings.samples - 1}")
    clock = data.recordings.axes[0].values
    windows = [
        Window(recording, first, length, "test")
        for start, stop in stretches(pauses(clock), 0, len(clock))
        if (length := min(data.window or len(clock), stop - start)) > 1
        for first in firsts(start, stop, length, max(1, length // 2), to_the_end=True)
    ]
    samples = SampleDataset(data.covering(windows), np.arange(len(windows)), data.task("test"), train=False)
    for i, window in enumerate(windows):
        yield window, samples[i].context


def _wide(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(mask.reshape(-1, *[1] * (like.ndim - 1)), like.shape)
