"""Self-training: what is made of a batch, the average that makes it, resuming, and settings that do not go together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy

from cst_lightning import CSTModule, Field
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.errors import DataError
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch, Normalization, PointSet
from cst_lightning.self_training import Teacher
from tests.training import trainer

SMALL: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "frequencies": 2, "kernel_frequencies": 2}


@pytest.fixture
def data(tmp_path: Path) -> SpiralsDataModule:
    """Return eight training curves of 20 points, 6 of them observed."""
    return SpiralsDataModule(
        train=8, val=2, test=2, points=20, observed=6, context=[0.5, 0.9], target="masked", dummies=4, batch_size=4,
        cache_dir=tmp_path / "cache",
    )  # fmt: skip


def model(**options: Any) -> CSTModule:
    seed_everything(0, verbose=False)
    return CSTModule(1, 2, **{**SMALL, "self_training": 0.5, "components": 0.3, "mu": 1e-6, **options})


def batch(samples: int = 3) -> Batch:
    """Return samples of 5 points, 3 shown and 2 hidden, one of these padding, and 4 dummies."""
    generator = torch.Generator().manual_seed(0)
    coords = 2 * torch.rand(samples, 5, 1, generator=generator) - 1
    values = torch.randn(samples, 5, 2, generator=generator)
    mask = torch.ones(samples, 5, dtype=torch.bool)
    mask[-1, 4] = False
    dummies = 2 * torch.rand(samples, 4, 1, generator=generator) - 1
    shown, hidden = (PointSet(*(part[:, cut] for part in (coords, values, mask))) for cut in (slice(3), slice(3, 5)))
    return Batch(shown, hidden, dummies, torch.arange(samples))


def trained_a_bit() -> CSTNetwork:
    torch.manual_seed(0)
    network = CSTNetwork(1, 2, **SMALL)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return network


def test_a_batch_keeps_its_samples_and_gains_as_many() -> None:
    one = batch()
    both = Teacher(trained_a_bit()).extend(one)
    for mine, found in zip((*one.context, one.dummies), (*both.context, both.dummies), strict=True):
        torch.testing.assert_close(found[:3], mine)
    torch.testing.assert_close(both.target.values[:3, :2], one.target.values)
    assert not both.target.mask[:3, 2:].any()
    assert len(set(both.index.tolist())) == 6


def test_made_samples_are_the_teachers_answers_where_the_neighbour_was_observed() -> None:
    one, network = batch(), trained_a_bit().eval()
    both = Teacher(network).extend(one)
    seen = PointSet(*(torch.cat(pair, 1) for pair in zip(one.context, one.target, strict=True)))
    memory = network.encode(seen)
    after = [1, 2, 0]
    torch.testing.assert_close(both.context.coords[3:], one.context.coords[after])
    torch.testing.assert_close(both.target.coords[3:, :2], one.target.coords[after])
    torch.testing.assert_close(both.target.coords[3:, 2:], one.dummies[after])
    torch.testing.assert_close(both.target.values[3:], network.query(memory, both.target.coords[3:]))
    errors = one.context.values - network.query(memory, one.context.coords)
    assert errors.abs().max() > 0.01
    torch.testing.assert_close(both.context.values[3:], network.query(memory, both.context.coords[3:]) + errors[after])
    assert torch.equal(both.target.mask[3:, :2], one.target.mask[after])
    assert both.target.mask[3:, 2:].all()


def test_points_that_are_shown_and_asked_for_are_seen_once() -> None:
    one, network = batch(), trained_a_bit().eval()
    every = one._replace(target=PointSet(*(torch.cat(pair, 1) for pair in zip(one.context, one.target, strict=True))))
    made, again = (Teacher(network).extend(each) for each in (one, every))
    torch.testing.assert_close(again.context.values, made.context.values)
    assert again.target.mask[3:].sum() == made.target.mask[3:].sum() + one.context.mask.sum()


def test_components_have_their_share() -> None:
    one = batch(12)
    plain, mixed, alone = (Teacher(trained_a_bit(), share=share) for share in (0.0, 0.25, 1.0))
    for teacher in (mixed, alone):
        teacher.study([one], None)
    answers = [teacher.extend(one).target.values for teacher in (plain, mixed, alone)]
    assert not torch.allclose(answers[0], answers[2], atol=0.05)
    torch.testing.assert_close(answers[1], 0.75 * answers[0] + 0.25 * answers[2])


def test_the_teacher_follows_the_average_of_the_weights() -> None:
    network = trained_a_bit()
    teacher = Teacher(network, decay=0.5)
    start = teacher.network.head.weight.clone()
    with torch.no_grad():
        network.head.weight.add_(1)
    for _ in range(3):  # as with accumulated gradients
        teacher.follow(network, 1)
    torch.testing.assert_close(teacher.network.head.weight, start + 0.9)  # a tenth of the old in the first step
    for step in range(2, 32):
        teacher.follow(network, step)
    torch.testing.assert_close(teacher.network.head.weight, network.head.weight)
    assert network.head.weight.requires_grad
    assert not teacher.network.head.weight.requires_grad


def test_a_sample_without_neighbours_gains_nothing() -> None:
    one = batch(1)
    assert Teacher(trained_a_bit()).extend(one) is one


class Sizes(Callback):
    """Write down how many samples each step learns from."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        step = pl_module._step

        def counted(one: Batch, *rest: Any) -> Any:
            self.found.append(len(one.index))
            return step(one, *rest)

        pl_module._step = counted


def test_a_single_curve_has_no_components() -> None:
    with pytest.raises(DataError, match=r"data: train: expected at least 2 samples .* found 1"):
        Teacher(trained_a_bit(), share=0.5).study([batch(1)], None)


def test_it_begins_in_the_last_part_of_the_run(tmp_path: Path, data: SpiralsDataModule) -> None:
    sizes = Sizes()
    trainer(tmp_path, 4, callbacks=[sizes]).fit(model(), data)
    assert sizes.found == [4] * 4 + [8] * 4


def test_studying_costs_the_run_no_batch(tmp_path: Path) -> None:
    data = SpiralsDataModule(
        train=8, val=2, test=2, points=20, observed=6, target="masked", batch_size=4, num_workers=1,
        persistent_workers=True, cache_dir=tmp_path / "cache",
    )  # fmt: skip
    sizes = Sizes()
    trainer(tmp_path, epochs=2, callbacks=[sizes], limit_val_batches=0).fit(model(), data)
    assert len(sizes.found) == 4


def test_a_second_fit_has_a_teacher_of_its_own(tmp_path: Path, data: SpiralsDataModule) -> None:
    module = model()
    trainer(tmp_path, 2).fit(module, data)
    first, functions = module._teacher, module._teacher.components.functions
    other = SpiralsDataModule(
        train=8, val=2, test=2, points=20, observed=6, target="masked", batch_size=4, seed=5,
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    trainer(tmp_path, 2).fit(module, other)
    assert module._teacher is not first
    assert module._teacher.steps == 3
    assert not torch.equal(module._teacher.components.functions, functions)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_resumed_run_repeats_the_other(tmp_path: Path, data: SpiralsDataModule, precision: Any) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, enable_version_counter=False)
    # Lightning loads a checkpoint of float64 into float32 before it converts the module
    rounding = 0 if precision == "32-true" else 1e-5
    whole = model()
    trainer(tmp_path, 4, enable_checkpointing=True, callbacks=[keep], precision=precision).fit(whole, data)
    resumed = model()
    trainer(tmp_path, 4, callbacks=[keep], enable_checkpointing=True, precision=precision).fit(
        resumed, data, ckpt_path=str(tmp_path / "epoch=2.ckpt"), weights_only=True
    )
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=rounding, msg=name)
    assert Field.load(tmp_path / "epoch=3.ckpt").network.channels == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_training": 1.5}, "self_training is 1.5, expected 0 to 1"),
        ({"self_training": 0.0}, r"components is 0.3, expected 0 unless self_training is on \(it is 0.0\)"),
        ({"dimension": 3}, r"the only coordinate \(there are 3\)"),
        ({"reach": 2, "components": 0.0, "dimension": 3}, "self_training is 0.5 and reach 2"),
    ],
)
def test_settings_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CSTModule(options.pop("dimension", 1), 1, **{"self_training": 0.5, "components": 0.3, **SMALL, **options})


class Units:
    """As much of a data module as `setup` looks at."""

    normalization = Normalization.identity(1, 2)


def test_split_weights_are_refused(tmp_path: Path) -> None:
    module = model()
    module.trainer = type("T", (), {"strategy": FSDPStrategy(), "precision": "32-true", "datamodule": Units()})()
    with pytest.raises(ValueError, match="expected it to be 0 with FSDPStrategy"):
        module.setup("fit")
    module.setup("validate")  # which averages nothing
