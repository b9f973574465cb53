"""AttentionCallback: a map appears, and layer and head are passed on."""

from __future__ import annotations

import numpy as np
import pytest

from cst_lightning.callbacks import AttentionCallback


@pytest.mark.parametrize("kind", ["curve", "plane"])
def test_a_map_appears_at_the_end(kind, make_trainer, request, fake_field, tmp_path) -> None:
    names = ("module", "data") if kind == "curve" else ("planar_module", "planar_data")
    module, data = (request.getfixturevalue(name) for name in names)
    make_trainer(AttentionCallback(folder=str(tmp_path / "f")), max_epochs=1).fit(module, datamodule=data)
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["attention.png"]


def test_layer_and_head_reach_the_field(make_trainer, module, data, monkeypatch, tmp_path) -> None:
    asked = []

    class Field:
        def attention(self, query, layer, head):
            asked.append((layer, head))
            return np.ones((len(query), 100))

    monkeypatch.setattr("cst_lightning.callbacks.attention.observe", lambda module, scene: Field())
    callback = AttentionCallback(layer=1, head=2, folder=str(tmp_path / "f"))
    make_trainer(callback, max_epochs=1).fit(module, datamodule=data)
    assert asked == [(1, 2)]
