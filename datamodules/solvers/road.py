r"""A drive, rendered: the pictures of a forward camera as an exact function of time.

The camera moves over a plane, :math:`z_c(t) = v t + a \sin \omega t` ahead and a little to the sides. A ray through
the picture at (u, v), in image heights right of and above the vanishing point, has the direction
:math:`(u / f, v / f, 1)`, and meets the ground of a camera at height h at the distance :math:`z = -f h / v`. Ground
and boxes (cars, oncoming cars, houses and trees by the road) are intersected ray by ray, several rays a pixel, and
fade into haze with distance. Nothing is remembered from one picture to the next, so that there is a truth at any time.
Units: metres and seconds; pictures are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray

_HAZE, _ZENITH = np.array([0.78, 0.81, 0.85]), np.array([0.42, 0.58, 0.80])
_ASPHALT, _GRASS, _PAINT = np.array([0.30, 0.30, 0.31]), np.array([0.30, 0.42, 0.20]), np.array([0.92, 0.92, 0.88])
# Scenery repeats after so many metres ahead, where haze hides what appears.
_REPEAT, _SIGHT = 140.0, 60.0
_LANE = 3.6


@dataclass(frozen=True)
class Road:
    """What is seen, and how.

    Attributes:
        height: rows of a picture.
        width: columns.
        speed: of the camera, m/s.
        seed: of everything in the scene.
        rays: along each side of a pixel; their mean is the pixel.
        focal: focal length in image heights.
        horizon: where the horizon lies, in image heights from above.
        eye: height of the camera, m.
    """

    height: int = 36
    width: int = 64
    speed: float = 8.0
    seed: int = 0
    rays: int = 4
    focal: float = 1.1
    horizon: float = 0.42
    eye: float = 1.4

    def camera(self, time: float) -> tuple[float, float, float]:
        """Return how far right and ahead of the start the camera is at a time, m, and how far it looks down."""
        phase = self._scene.phases
        ahead = self.speed * time + 1.5 * np.sin(0.5 * time + phase[0])
        return 0.4 * np.sin(0.7 * time + phase[1]), ahead, 0.004 * np.sin(3.1 * time + phase[2])

    def boxes(self, time: float) -> Array:
        """Return the boxes near the camera at a time, (K, 3, 2): from and to, along x, y and z, m."""
        _, ahead, _ = self.camera(time)
        boxes = self._scene.boxes.copy()
        moved = self._scene.speeds * time
        # of all repetitions the nearest one that is not yet behind the camera
        behind = np.ceil((ahead - boxes[:, 2, 1] - moved) / _REPEAT)
        boxes[:, 2] += (moved + behind * _REPEAT)[:, None]
        leading = self._scene.leading
        gap = leading[:, 0] + leading[:, 1] * np.sin(leading[:, 2] * time + leading[:, 3])
        cars = np.zeros((len(gap), 3, 2))
        cars[:, 0] = leading[:, 4:5] + np.array([-0.9, 0.9])
        cars[:, 1, 1] = leading[:, 5]
        cars[:, 2] = ahead + gap[:, None] + np.array([0.0, 4.0])
        return np.concatenate([boxes, cars])

    def picture(self, time: float, grey: bool = True) -> Array:
        """Render the picture at a time: (height, width, 1 or 3) float32 in [0, 1]."""
        side, ahead, pitch = self.camera(time)
        rows, columns = self.height * self.rays, self.width * self.rays
        up = self.horizon + pitch - (np.arange(rows) + 0.5) / rows
        right = ((np.arange(columns) + 0.5) - columns / 2) / rows
        across, rise = np.meshgrid(right / self.focal, up / self.focal)
        colours, depth = self._ground(across, rise, side, ahead)
        for box, colour in zip(self.boxes(time), self._scene.colours, strict=True):
            _draw(box - np.array([side, self.eye, ahead])[:, None], colour, across, rise, colours, depth)
        share = np.exp(-np.square(depth / _SIGHT))[..., None]
        sky = _HAZE + np.clip(rise, 0, 1)[..., None] * (_ZENITH - _HAZE) * 1.6
        seen = np.where(np.isinf(depth)[..., None], sky, share * colours + (1 - share) * _HAZE)
        pixels = seen.reshape(self.height, self.rays, self.width, self.rays, 3).mean((1, 3))
        pixels = pixels @ np.array([0.299, 0.587, 0.114])[:, None] if grey else pixels
        return np.asarray(np.clip(pixels, 0, 1), dtype=np.float32)

    def _ground(self, across: Array, rise: Array, side: float, ahead: float) -> tuple[Array, Array]:
        """Return colours (rows, columns, 3) and distances (rows, columns) of the plane, infinite above the horizon."""
        below = rise < 0
        depth = np.where(below, self.eye / np.maximum(-rise, 1e-6), np.inf)
        near = np.where(below & (depth < 4 * _SIGHT), depth, 1.0)
        x, z = side + across * near, ahead + near
        # what one ray stands for, in metres: texture finer than that would only flicker
        size = near / (self.focal * self.height * self.rays) * np.maximum(1, near / self.eye)
        texture = np.zeros_like(x)
        for (kx, kz), phase, amplitude in self._scene.waves:
            texture += amplitude * np.exp(-0.5 * np.square(np.hypot(kx, kz) * size)) * np.sin(kx * x + kz * z + phase)
        distance = np.abs(x)
        dashes = (np.abs(distance - _LANE / 2) < 0.12) & (np.mod(z, 9.0) < 4.0)
        lines = np.abs(distance - 1.5 * _LANE) < 0.12
        plain = np.where((distance < 1.5 * _LANE + 0.5)[..., None], _ASPHALT, _GRASS)
        colours = np.where((dashes | lines)[..., None], _PAINT, plain * (1 + texture[..., None]))
        return colours, depth

    @cached_property
    def _scene(self) -> _Scene:
        return _Scene.random(np.random.default_rng(self.seed))


@dataclass(frozen=True)
class _Scene:
    """All that is random, drawn once.

    Attributes:
        phases: (3,) of the camera's motion.
        boxes: (K, 3, 2) scenery and oncoming cars at time 0.
        speeds: (K,) along z, m/s.
        leading: (L, 6) cars ahead: mean gap, its amplitude, angular frequency and phase, middle along x, height.
        colours: (K + L, 3).
        waves: wave numbers (rad/m), phase and amplitude of each wave of the ground's texture.
    """

    phases: Array
    boxes: Array
    speeds: Array
    leading: Array
    colours: Array
    waves: list[tuple[Array, float, float]]

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Scene:
        phases = rng.uniform(0, 2 * np.pi, 3)
        scenery, oncoming, cars = 22, 3, 2
        boxes = np.zeros((scenery + oncoming, 3, 2))
        place = np.where(rng.random(scenery) < 0.5, -1, 1) * rng.uniform(8.5, 16, scenery)
        width, height, length = rng.uniform(0.3, 3, scenery), rng.uniform(2, 7, scenery), rng.uniform(0.5, 8, scenery)
        start = np.arange(scenery) * _REPEAT / scenery + rng.uniform(0, 4, scenery)
        boxes[:scenery, 0] = place[:, None] + width[:, None] * np.array([-1, 1])
        boxes[:scenery, 1, 1] = height
        boxes[:scenery, 2] = start[:, None] + length[:, None] * np.array([0, 1])
        begin = rng.uniform(0, _REPEAT, oncoming)
        boxes[scenery:, 0] = -2 * _LANE + np.array([-0.9, 0.9])
        boxes[scenery:, 1, 1] = 1.5
        boxes[scenery:, 2] = begin[:, None] + np.array([0.0, 4.0])
        speeds = np.concatenate([np.zeros(scenery), np.full(oncoming, -9.0)])
        low, high = (9, 2, 0.3, 0), (22, 4, 0.6, 6)
        lanes, tall = np.array([-_LANE, _LANE]), rng.uniform(1.4, 2.2, cars)
        gaps = np.concatenate([rng.uniform(low, high, (cars, 4)), np.stack([lanes, tall], -1)], -1)
        things = len(boxes) + cars
        colours = rng.uniform(0.12, 0.7, (things, 1)) * rng.uniform(0.75, 1.3, (things, 3))
        angle, length = rng.uniform(0, np.pi, 12), rng.uniform(0.5, 6, 12)
        numbers = 2 * np.pi / length[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        waves = [(number, float(rng.uniform(0, 6)), 0.09) for number in numbers]
        return cls(phases, boxes, speeds, gaps, colours, waves)


def uneven_times(frames: int, rate: float, seed: int = 0, jitter: float = 0.15) -> Array:
    """Return times (frames,) of a camera whose clock is uneven: each off by up to `jitter` of the interval, s."""
    moved = np.random.default_rng(np.random.SeedSequence([seed, frames])).uniform(-jitter, jitter, frames)
    times: Array = (np.arange(frames) + moved) / rate
    return times - times[0]


def _draw(box: Array, colour: Array, across: Array, rise: Array, colours: Array, depth: Array) -> None:
    """Paint a box (3, 2), seen from the origin along z, over what is further away."""
    if box[2, 1] <= 0.2 or box[2, 0] > 3 * _SIGHT:
        return
    with np.errstate(divide="ignore"):
        slopes = [1 / np.where(across == 0, 1e-12, across), 1 / np.where(rise == 0, 1e-12, rise)]
    hits = [box[0][:, None, None] * slopes[0], box[1][:, None, None] * slopes[1]]
    enter = np.stack([*(np.minimum(*hit) for hit in hits), np.full_like(rise, box[2, 0])])
    leave = np.minimum(np.minimum(np.maximum(*hits[0]), np.maximum(*hits[1])), box[2, 1])
    first = enter.max(0)
    seen = (first <= leave) & (first > 0.2) & (first < depth)
    # sides are darker than what faces the camera, tops lighter; windows or foliage give faces a texture
    light = np.array([0.75, 1.15, 1.0])[enter[:, seen].argmax(0)]
    at = first[seen]
    x, y, z = across[seen] * at, rise[seen] * at, at
    corner = box[:, 0]
    pattern = 1 + 0.25 * np.sin(2.2 * (x - corner[0] + z - corner[2])) * np.sin(2.2 * (y - corner[1]))
    colours[seen] = np.clip((light * pattern)[:, None] * colour, 0, 1)
    depth[seen] = at
