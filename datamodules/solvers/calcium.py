r"""Simulated calcium imaging: what cells and cortex did, and what a microscope would have made of it.

A spike at time s adds the response of the indicator, a difference of two exponentials of peak 1,

.. math::
    c(t) \propto e^{-(t - s) / \tau_d} - e^{-(t - s) / \tau_r}, \qquad t > s,

and the camera adds noise. The truth is known without it, so that denoising can be scored.
Sources: Vogelstein et al., Fast nonnegative deconvolution, J. Neurophysiology 104 (2010), for the model; Chen et al.,
Ultrasensitive fluorescent proteins, Nature 499 (2013), for GCaMP6s: rise 0.18 s, half decay 0.55 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

# Spikes fall between frames; so many steps a frame resolve that.
_FINER = 8


@dataclass(frozen=True)
class TwoPhoton:
    """Traces of cells that take part in common events besides firing on their own.

    Attributes:
        rois: number of cells.
        frames: T.
        rate: frames a second.
        assemblies: groups of cells with common events; a cell is in one of them, more or less.
        events: of an assembly, a second.
        spikes: of a cell on its own, a second.
        rise: time constant of the indicator's rise, s.
        decay: of its decay, s.
        noise: standard deviation of a frame's measurement of dF/F; one spike has peak 0.25.
        seed: of everything random.
    """

    rois: int = 24
    frames: int = 6000
    rate: float = 10.0
    assemblies: int = 4
    events: float = 0.12
    spikes: float = 0.08
    rise: float = 0.1
    decay: float = 0.8
    noise: float = 0.25
    seed: int = 0

    def simulate(self) -> tuple[np.ndarray, np.ndarray]:
        """Return dF/F without and with noise, (T, rois) float32 each."""
        rng = np.random.default_rng(self.seed)
        steps, dt = self.frames * _FINER, 1 / (self.rate * _FINER)
        # an event is a short burst in which the members of an assembly fire several spikes each
        bursts = rng.random((steps, self.assemblies)) < self.events * dt
        drive = np.stack([_response(b.astype(float), dt, 0.05, 0.25) for b in bursts.T], axis=1)
        member = rng.dirichlet(np.full(self.assemblies, 0.35), size=self.rois).T
        slow = np.exp(0.5 * _wander(rng, steps, self.rois, 20 / dt))  # excitability drifts over tens of seconds
        firing = (self.spikes + 14.0 * drive @ member) * slow
        spikes = rng.poisson(firing * dt)
        height = 0.25 * rng.lognormal(0, 0.3, self.rois)
        clean = np.stack([_response(s.astype(float), dt, self.rise, self.decay) for s in spikes.T], axis=1)
        clean = (clean * height)[_FINER - 1 :: _FINER]
        noisy = clean + self.noise * rng.standard_normal(clean.shape)
        return clean.astype(np.float32), noisy.astype(np.float32)


@dataclass(frozen=True)
class Widefield:
    """A movie of cortex: waves that start anywhere, travel, fade, and meet.

    Attributes:
        height: pixels along y.
        width: pixels along x.
        pixel: side of a pixel, mm.
        frames: T.
        rate: frames a second.
        waves: that start, a second.
        speed: of the fronts, mm/s.
        reach: distance over which a wave fades, mm.
        rise: time constant of the indicator's rise, s.
        decay: of its decay, s.
        noise: standard deviation of a pixel's measurement of dF/F in percent; waves peak at a few.
        seed: of everything random.
    """

    height: int = 20
    width: int = 24
    pixel: float = 0.25
    frames: int = 1200
    rate: float = 15.0
    waves: float = 1.2
    speed: float = 12.0
    reach: float = 2.5
    rise: float = 0.05
    decay: float = 0.3
    noise: float = 1.0
    seed: int = 0

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Time in s, y and x in mm."""
        time, y, x = (np.arange(n, dtype=np.float64) for n in (self.frames, self.height, self.width))
        return time / self.rate, y * self.pixel, x * self.pixel

    def simulate(self) -> tuple[np.ndarray, np.ndarray]:
        """Return dF/F in percent without and with noise, (T, height, width) float32 each."""
        rng = np.random.default_rng(self.seed)
        time, y, x = self.axes
        warm = 4 * self.decay  # waves from before the first frame are still seen in it
        drive = np.zeros((self.frames + round(warm * self.rate), self.height, self.width))
        clock = np.arange(len(drive)) / self.rate - warm
        for start in np.sort(rng.uniform(-warm, time[-1], rng.poisson(self.waves * (time[-1] + warm)))):
            drive += self._wave(rng, clock - start, y, x)
        clean = _response(drive / self.rate, 1 / self.rate, self.rise, self.decay)[-self.frames :]
        noisy = clean + self.noise * rng.standard_normal(clean.shape)
        return clean.astype(np.float32), noisy.astype(np.float32)

    def _wave(self, rng: np.random.Generator, since: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the drive (T, height, width) of one wave, so many seconds after it started: a front that runs out."""
        centre = rng.uniform([-0.5, -0.5], [y[-1] + 0.5, x[-1] + 0.5])
        off = np.stack(np.meshgrid(y - centre[0], x - centre[1], indexing="ij"))
        distance = np.hypot(*off)
        heading = rng.uniform(0, 2 * np.pi)
        # faster one way than the other, as along and across the fibres
        angle = np.arctan2(off[0], off[1]) - heading
        delay = distance / (self.speed * rng.uniform(0.6, 1.4) * (1 + 0.5 * np.cos(angle)))
        strength = 40.0 * rng.lognormal(0, 0.4) * np.exp(-distance / self.reach)
        near = (since > -0.5) & (since < delay.max() + 0.5)
        out = np.zeros((len(since), *distance.shape))
        out[near] = strength * np.exp(-0.5 * ((since[near, None, None] - delay) / 0.05) ** 2)
        return out


def _response(drive: np.ndarray, dt: float, rise: float, decay: float) -> np.ndarray:
    """Filter (T, ...) along time with the difference of two exponentials, whose peak is 1."""
    fall, climb = np.exp(-dt / decay), np.exp(-dt / rise)
    peak = rise * decay / (decay - rise) * np.log(decay / rise)
    scale = np.exp(-peak / decay) - np.exp(-peak / rise)
    slow = lfilter([1.0], [1.0, -fall], drive, axis=0)
    return np.asarray((slow - lfilter([1.0], [1.0, -climb], drive, axis=0)) / scale)


def _wander(rng: np.random.Generator, steps: int, count: int, width: float) -> np.ndarray:
    """Return smooth random curves (steps, count) of variance 1 and a correlation length of `width` steps."""
    coarse = max(8, round(4 * steps / width))
    knots = gaussian_filter1d(rng.standard_normal((coarse, count)), 2.0, axis=0, mode="wrap")
    knots /= knots.std(0)
    at = np.linspace(0, coarse - 1, steps)
    return np.stack([np.interp(at, np.arange(coarse), column) for column in knots.T], axis=1)
