"""CST less one ingredient at a time, as settings.

Each entry overrides settings of a `CSTModule` ("model") and of its training data ("data"); what is held out at the test
stays the same. Some entries are the same run for some settings: without dummies there is nowhere to take the Sobolev
term, so under isolated attention both entries train the same network; noise and the residual head are absent where the
settings have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Settings of "model" and "data" by what is left out.
Settings = Mapping[str, Mapping[str, Any]]

ABLATIONS: dict[str, Settings] = {
    "cst": {},
    "cst - sobolev": {"model": {"mu": 0.0}},
    "cst - dummies": {"data": {"dummies": 0}},
    "cst - noise": {"model": {"noise": 0.0}},
    "cst - residual": {"model": {"residual": False}},
    # dummies enter the memory, and every answer depends on them
    "cst - isolated queries": {"model": {"attention": "joint"}},
    # everything observed is shown and asked for, in every epoch the same
    "cst - random context": {"data": {"context": [1.0, 1.0], "target": "all"}},
    "cst - distance kernel": {"model": {"kernel_frequencies": 0}},
}
