"""Training: the shared step, resuming (P5), precision (P6), divergence, checkpoints (P7)."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from cst_lightning import CSTModule, Field
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.module import ROUNDING_PRECISIONS, DivergenceError
from cst_lightning.points import Batch, point_set
from cst_lightning.randomness import sample_keys
from tests.training import trainer

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "frequencies": 2, "kernel_frequencies": 2}


@pytest.fixture
def data(tmp_path: Path) -> SpiralsDataModule:
    """Return eight training curves of 20 points, 6 of them observed."""
    return SpiralsDataModule(
        train=8, val=2, test=2, points=20, observed=6, dummies=4, batch_size=4, cache_dir=tmp_path / "cache"
    )


def model(**options: Any) -> CSTModule:
    """Return the same small module every time."""
    seed_everything(0, verbose=False)
    return CSTModule(1, 2, **{**SMALL, "noise": 0.1, "dropout": 0.1, "lr": 1e-2, **options})


def batch_of(data: SpiralsDataModule, module: CSTModule) -> Batch:
    """Return one normalised training batch and give the module its units."""
    data.prepare_data()
    data.setup()
    module.normalization = data.normalization
    return module.normalization.batch(next(iter(data.train_dataloader())), next(module.parameters()).dtype)


def test_user_script(tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    from cst_lightning import CSTModule
    from cst_lightning.callbacks import InterpolationCallback
    from cst_lightning.datamodules import SpiralsDataModule

    data = SpiralsDataModule(train=64, val=8, test=8, observed=10, cache_dir=tmp_path)
    model = CSTModule(data.dimension, data.channels, width=32, depth=2, heads=4)
    trainer = Trainer(
        max_epochs=15, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[InterpolationCallback()],
    )  # fmt: skip
    trainer.fit(model, data)
    (scores,) = trainer.test(model, data, verbose=False)
    assert scores["test/mse"] < 0.7 * scores["test/initialiser_mse"]
    f = model.field(data.truth("test", 0).coords[::10], data.truth("test", 0).values[::10])
    assert f(data.truth("test", 0).coords).shape == (100, 2)


def test_training_step_is_the_sobolev_loss(data: SpiralsDataModule) -> None:
    module = model(mu=0.5, noise=0.0, dropout=0.0, order=2)
    batch = batch_of(data, module)
    torch.nn.init.normal_(module.network.head.weight)
    keys = sample_keys(0, 0, batch.index)
    terms = module.terms(batch, keys)
    memory = module.network.encode(batch.context)
    error = (module.network.query(memory, batch.target.coords) - batch.target.values) ** 2
    fit = error[batch.target.mask].mean()
    sobolev = sum(module.loss.terms(module.network, memory, batch.dummies))
    assert terms.fit.item() == pytest.approx(fit.item(), rel=1e-5)
    assert terms.loss.item() == pytest.approx((fit + 0.5 * sobolev).item(), rel=1e-5)


def test_logged_names(data: SpiralsDataModule, tmp_path: Path) -> None:
    run = trainer(tmp_path, 1)
    run.fit(model(), data)
    assert {"train/loss", "train/fit", "train/sobolev"} <= set(run.logged_metrics)


def test_validation_returns_physical_units(data: SpiralsDataModule) -> None:
    module = model(initialiser="linear")
    batch_of(data, module)
    raw = next(iter(data.val_dataloader()))
    out = module.eval().validation_step(module.normalization.batch(raw), 0)
    torch.testing.assert_close(out["target"], raw.target.values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["coords"], raw.target.coords, rtol=1e-5, atol=1e-6)
    assert torch.equal(out["prediction"], out["initialiser"])  # an untrained residual model
    assert out["frames"] == 20


def weights(module: CSTModule) -> Tensor:
    """Return all parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resumed_training_equals_an_uninterrupted_run_bit_for_bit(
    data: SpiralsDataModule, tmp_path: Path, optimizer: Any
) -> None:
    whole, first, second = (model(optimizer=optimizer, directions="random") for _ in range(3))
    trainer(tmp_path, 4).fit(whole, data)

    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer(tmp_path, 4, callbacks=[saving], enable_checkpointing=True, limit_val_batches=0).fit(first, data)
    torch.manual_seed(123)  # a resumed process has drawn other numbers before
    again = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    resumed = trainer(tmp_path, 4, callbacks=[again], enable_checkpointing=True, limit_val_batches=0)
    resumed.fit(second, data, ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(whole), weights(model()))


def test_gradient_of_two_half_batches_is_that_of_the_whole(data: SpiralsDataModule) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        module = model(mu=1e-3, dropout=0.0, directions="random").double()
        batch = batch_of(data, module)

        def gradient(part: Batch) -> Tensor:
            module.zero_grad()
            module.terms(part, sample_keys(0, 0, part.index)).loss.backward()
            return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])

        def half(tree: Any, rows: slice) -> Any:
            return type(tree)(
                *(half(t, rows) if isinstance(t, tuple) else t[rows] if isinstance(t, Tensor) else t for t in tree)
            )

        split = (gradient(half(batch, slice(0, 2))) + gradient(half(batch, slice(2, 4)))) / 2
        torch.testing.assert_close(split, gradient(batch), rtol=1e-10, atol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_coordinates_stay_precise_in_every_precision(data: SpiralsDataModule, tmp_path: Path, precision: Any) -> None:
    seen: dict[str, Tensor] = {}
    module = model()
    parts = {"encoding": module.network.embedding.fourier, "kernel": module.network.places}
    for name, part in parts.items():
        part.register_forward_hook(lambda m, i, out, name=name: seen.__setitem__(name, out))

    class Ask(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
            with trainer.precision_plugin.forward_context(), torch.no_grad():
                batch = data.normalization.batch(next(iter(data.train_dataloader())), next(module.parameters()).dtype)
                coords = torch.linspace(-1, 1, 1000).to(batch.context.coords.dtype).expand(4, 1000)[..., None]
                module.network.query(module.network.encode(batch.context), coords)

    asking = Ask(tmp_path)
    options: dict[str, Any] = {"callbacks": [asking], "enable_checkpointing": True, "limit_train_batches": 1}
    trainer(tmp_path, 1, precision=precision, limit_val_batches=0, **options).fit(module, data)
    assert set(seen) == set(parts)
    for encoded in seen.values():  # bfloat16 would leave 502 of 1,000
        assert encoded.dtype in (torch.float32, torch.float64)
        assert len(encoded[0, 0].unique(dim=0)) == 1000


@pytest.mark.parametrize("precision", ROUNDING_PRECISIONS[:2])
def test_precisions_that_round_coordinates_are_refused(data: SpiralsDataModule, tmp_path: Path, precision: Any) -> None:
    with pytest.raises(ValueError, match=r"rounds coordinates.*bf16-mixed"):
        trainer(tmp_path, 1, precision=precision).fit(model(), data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1), ("weight_decay", -1), ("warmup", -1), ("warmup", 2), ("clip", -1), ("seed", -1), ("width", 0),
        ("depth", 0), ("heads", 0), ("expansion", 0), ("frequencies", 0), ("kernel_frequencies", -1), ("dropout", 2),
        ("noise", -1), ("latents", -1), ("order", -1), ("p", 0), ("mu", -1),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value}, expected"):
        CSTModule(1, 1, **{name: value})


def test_divergence_names_batch_and_term_and_keeps_the_last_good_checkpoint(
    data: SpiralsDataModule, tmp_path: Path
) -> None:
    module = model(mu=1e-3)
    good = module.loss.terms

    def bad(network: Any, memory: Any, dummies: Tensor, keys: Any = None) -> list[Tensor]:
        terms = good(network, memory, dummies, keys)
        return [term * math.nan for term in terms] if module.global_step == 3 else terms

    module.loss.terms = bad  # type: ignore[method-assign]
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", save_last=True)
    with pytest.raises(DivergenceError, match=r"sobolev = nan in batch 1 of epoch 1 \(samples \["):
        trainer(tmp_path, 3, callbacks=[saving], enable_checkpointing=True).fit(module, data)
    kept = CSTModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert weights(kept).isfinite().all()


def test_gradient_that_is_not_finite_stops_before_the_weights_are_hit(data: SpiralsDataModule, tmp_path: Path) -> None:
    module = model()
    module.network.head.bias.register_hook(lambda g: g * math.inf)
    before = weights(module)
    with pytest.raises(DivergenceError, match="gradient is not finite at step 0"):
        trainer(tmp_path).fit(module, data)
    assert torch.equal(weights(module), before)


def test_checkpoint_loads_without_unpickling_and_gives_the_same_field(data: SpiralsDataModule, tmp_path: Path) -> None:
    module = model()
    run = trainer(tmp_path, 1)
    run.fit(module, data)
    run.save_checkpoint(tmp_path / "model.ckpt")
    torch.load(tmp_path / "model.ckpt", weights_only=True)
    truth = data.truth("test", 0)
    loaded = Field.load(tmp_path / "model.ckpt").observe(truth.coords[::4], truth.values[::4])
    assert torch.equal(loaded(truth.coords), module.field(truth.coords[::4], truth.values[::4])(truth.coords))


def test_ema_is_what_is_saved(data: SpiralsDataModule, tmp_path: Path) -> None:
    module = model(ema=0.5)
    steps: list[Tensor] = []

    class Watch(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
            steps.append(weights(pl_module))

    saving = Watch(tmp_path, filename="ema")
    trainer(tmp_path, 2, callbacks=[saving], enable_checkpointing=True, limit_val_batches=0).fit(module, data)
    expected = steps[0]  # Lightning's average starts as the weights after the first step
    for step in steps[1:]:
        expected = 0.5 * expected + 0.5 * step
    saved = weights(CSTModule.load_from_checkpoint(tmp_path / "ema.ckpt", weights_only=True))
    assert not torch.allclose(saved, steps[-1])
    torch.testing.assert_close(saved, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_training_without_units_warns(tmp_path: Path) -> None:
    points = point_set(torch.rand(1, 5, 1), torch.rand(1, 5, 2))
    batch = Batch(points, points, torch.rand(1, 2, 1), torch.tensor([0]))
    with pytest.warns(UserWarning, match="no datamodule to take units from"):
        trainer(tmp_path, 1).fit(model(), DataLoader([batch], batch_size=None))


@pytest.mark.parametrize(
    ("options", "word"), [({"optimizer": "sgd"}, "optimizer"), ({"ema": 1.5}, "ema"), ({"mu": -1}, "mu")]
)
def test_bad_options_name_themselves(data: SpiralsDataModule, tmp_path: Path, options: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        trainer(tmp_path).fit(model(**options), data)


def test_learning_rate_rises_and_falls(data: SpiralsDataModule, tmp_path: Path) -> None:
    rates: list[float] = []
    module = model(warmup=0.25)

    class Watch(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(tmp_path, 8, callbacks=[Watch(tmp_path)], enable_checkpointing=True).fit(module, data)
    assert max(rates) == pytest.approx(1e-2, rel=0.2)
    assert rates[-1] < 0.03 * max(rates)
    assert rates.index(max(rates)) in range(2, 6)


def test_compiled_training_step_gives_the_same_loss(data: SpiralsDataModule) -> None:
    module = model(noise=0.0, dropout=0.0, mu=1e-3)
    batch = batch_of(data, module)
    keys = sample_keys(0, 0, batch.index)
    compiled = torch.compile(module.terms, backend="aot_eager")
    for found, expected in zip(compiled(batch, keys), module.terms(batch, keys), strict=True):
        torch.testing.assert_close(found, expected)
