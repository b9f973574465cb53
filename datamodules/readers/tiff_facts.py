"""What a TIFF file says of itself: rate, times, pixel sizes and channels, from OME-XML, ImageJ or ScanImage.

Sources: OME-TIFF, https://docs.openmicroscopy.org/ome-model; ScanImage and ImageJ as tifffile reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from cst_lightning.datamodules.readers.slices import SECONDS


class Facts(NamedTuple):
    """What the file's own description says; None or nothing where it says nothing.

    Attributes:
        rate: steps along the file's own T a second; of ScanImage, which has no such axis, frames of one plane.
        volumes: ScanImage: volumes a second, the time of flying back included.
        steps: size and unit of a pixel, by axis.
        stamps: seconds of pages, by their place (t, z, c).
        channels: names.
    """

    rate: float | None = None
    volumes: float | None = None
    steps: Mapping[str, tuple[float, str]] = {}
    stamps: Mapping[tuple[int, int, int], float] = {}
    channels: tuple[str, ...] = ()


def facts_of(tif: Any) -> Facts:
    """Return rate and pixel size as OME-XML, ImageJ or ScanImage have them."""
    if tif.is_ome and tif.ome_metadata:
        return _ome(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        return Facts(_imagej_rate(tif.imagej_metadata), steps=_imagej_steps(tif))
    text = str(tif.pages[0].description or "") + str(tif.pages[0].software or "")
    frame, volume = (_positive(re.search(rf"scan{what}Rate\s*=\s*([0-9.eE+-]+)", text)) for what in ("Frame", "Volume"))
    return Facts(volume if frame is None else frame, volume)


def _positive(found: re.Match[str] | None) -> float | None:
    value = _number(None if found is None else found[1])
    return value if value > 0 else None


def _number(value: Any) -> float:
    """Return a finite number that stands in a description, 0 if there is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return 0.0
    return found if np.isfinite(found) else 0.0


def _imagej_rate(metadata: Mapping[str, Any]) -> float | None:
    interval = _number(metadata.get("finterval")) * SECONDS.get(str(metadata.get("tunit") or "s").lower(), 0.0)
    rate = 1 / interval if interval > 0 else _number(metadata.get("fps"))
    return rate if rate > 0 else None


def _imagej_steps(tif: Any) -> dict[str, tuple[float, str]]:
    """Return pixel sizes: pixels a unit in the resolution of the first page, `spacing` between planes."""
    unit = str(tif.imagej_metadata.get("unit") or "").replace("\\u00B5", "\u00b5")
    unit = {"micron": "\u00b5m", "microns": "\u00b5m", "um": "\u00b5m"}.get(unit, unit)
    if unit in ("", "pixel", "pixels"):
        return {}
    steps = {"z": _number(tif.imagej_metadata.get("spacing"))}
    for name in "xy":
        tag = tif.pages[0].tags.get(f"{name.upper()}Resolution")
        pixels, units = tag.value if tag is not None else (0, 1)
        steps[name] = units / pixels if pixels > 0 else 0.0
    return {name: (step, unit) for name, step in steps.items() if step > 0}


def _ome(text: str) -> Facts:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return Facts()
    pixels = next((node for node in root.iter() if _tag(node) == "Pixels"), None)
    if pixels is None:
        return Facts()
    step = _number(pixels.get("TimeIncrement")) * SECONDS.get(pixels.get("TimeIncrementUnit", "s"), 0.0)
    sizes = {
        name: (_number(pixels.get(f"PhysicalSize{name.upper()}")), pixels.get(f"PhysicalSize{name.upper()}Unit", "µm"))
        for name in "xyz"
    }
    stamps = {}
    for plane in (node for node in pixels if _tag(node) == "Plane" and node.get("DeltaT") is not None):
        t, z, c = (int(_number(plane.get(f"The{axis}"))) for axis in "TZC")
        stamps[t, z, c] = _number(plane.get("DeltaT")) * SECONDS.get(plane.get("DeltaTUnit", "s"), np.nan)
    names = tuple(node.get("Name", "") for node in pixels if _tag(node) == "Channel")
    own = {name: pair for name, pair in sizes.items() if pair[0] > 0}
    return Facts(1 / step if step > 0 else None, None, own, stamps, names)


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]
