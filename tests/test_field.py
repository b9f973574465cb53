"""A Field behaves like scipy's interpolators: units, shapes, derivatives, chunks, attention."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cst_lightning import CSTModule, Field
from cst_lightning.errors import DataError
from cst_lightning.points import Normalization

UNITS = Normalization((10.0, 5.0), (10.0, 5.0), (100.0, -3.0), (20.0, 0.5))


@pytest.fixture
def field() -> Field:
    """Return a field with physical units and a head that is not zero, in float64."""
    torch.manual_seed(0)
    module = CSTModule(2, 2, (False, True), width=16, depth=2, heads=2, frequencies=2).double()
    torch.nn.init.normal_(module.network.head.weight, std=0.3)
    module.normalization = UNITS
    torch.set_default_dtype(torch.float64)
    yield Field.of(module)
    torch.set_default_dtype(torch.float32)


def observations(count: int = 9, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return coordinates over [0, 20] x [0, 10] and values in physical units."""
    generator = np.random.default_rng(seed)
    return generator.uniform(0, 1, (count, 2)) * [20, 10], generator.normal(size=(count, 2)) * [20, 0.5] + [100, -3]


QUERY = np.array([[3.0, 4.0], [11.0, 0.5], [19.0, 9.0]])


def test_untrained_field_passes_through_its_observations_in_physical_units() -> None:
    module = CSTModule(2, 2, width=16, depth=1, heads=2, initialiser="nearest")
    module.normalization = UNITS
    coords, values = observations()
    np.testing.assert_allclose(module.field(coords, values)(coords), values, rtol=1e-5)


@pytest.mark.parametrize("index", [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (0, 3)])
def test_derivative_equals_central_differences_in_physical_units(field: Field, index: tuple[int, int]) -> None:
    f, h = field.observe(*observations()), np.array([1e-3, 1e-3])
    axis = 0 if index[0] else 1
    step = np.eye(2)[axis] * h
    lower = (index[0] - (axis == 0), index[1] - (axis == 1))
    expected = (f.derivative(QUERY + step, lower) - f.derivative(QUERY - step, lower)) / (2 * h[axis])
    np.testing.assert_allclose(f.derivative(QUERY, index), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_order_zero_derivative_is_the_value(field: Field) -> None:
    f = field.observe(*observations())
    np.testing.assert_array_equal(f.derivative(QUERY, (0, 0)), f(QUERY))


def test_value_derivative_and_attention_do_not_depend_on_chunks(field: Field) -> None:
    whole, small = (
        field.observe(*observations()),
        Field(field.network, field.normalization, budget=1).observe(*observations()),
    )
    np.testing.assert_allclose(small(QUERY), whole(QUERY), rtol=1e-12)
    np.testing.assert_allclose(small.derivative(QUERY, (1, 1)), whole.derivative(QUERY, (1, 1)), rtol=1e-9)
    np.testing.assert_allclose(small.attention(QUERY), whole.attention(QUERY), rtol=1e-12)


def test_periodic_axis_repeats_in_physical_units(field: Field) -> None:
    f = field.observe(*observations())
    np.testing.assert_allclose(f(QUERY + np.array([0.0, 10.0])), f(QUERY), rtol=1e-9)


def test_what_goes_in_comes_out(field: Field) -> None:
    f = field.observe(*observations())
    assert isinstance(f(QUERY), np.ndarray)
    assert f(QUERY.astype(np.float32)).dtype == np.float32
    assert f(np.array([[1, 2]])).dtype == np.float64  # integers are coordinates too
    answer = f(torch.tensor(QUERY))
    assert isinstance(answer, torch.Tensor)
    np.testing.assert_allclose(answer.numpy(), f(QUERY))


def test_batches_of_observations_and_queries(field: Field) -> None:
    first, second = observations(seed=1), observations(seed=2)
    coords, values = (np.stack(pair) for pair in zip(first, second, strict=True))
    both = field.observe(coords, values)
    np.testing.assert_allclose(both(QUERY)[1], field.observe(*second)(QUERY), rtol=1e-9)
    np.testing.assert_allclose(both(np.stack([QUERY, QUERY[::-1]]))[1], field.observe(*second)(QUERY[::-1]), rtol=1e-9)
    many = field.observe(*first)(np.stack([QUERY, QUERY[::-1]]))
    np.testing.assert_allclose(many[1], field.observe(*first)(QUERY)[::-1], rtol=1e-9)


def test_nan_means_unobserved(field: Field) -> None:
    coords, values = observations()
    holes = values.copy()
    holes[[1, 4], 0] = np.nan
    kept = [i for i in range(9) if i not in (1, 4)]
    np.testing.assert_allclose(
        field.observe(coords, holes)(QUERY), field.observe(coords[kept], values[kept])(QUERY), rtol=1e-9
    )


def test_attention_rows_are_weights_on_observations(field: Field) -> None:
    f = field.observe(*observations())
    for options in ({}, {"layer": 1}, {"head": 0}, {"layer": 0, "head": 1}):
        weights = f.attention(QUERY, **options)
        assert weights.shape == (3, 9)
        np.testing.assert_allclose(weights.sum(-1), 1)


def test_one_dimensional_vectors_are_enough() -> None:
    module = CSTModule(1, 1, width=16, depth=1, heads=2, initialiser="cubic")
    times = np.linspace(0, 1, 12)
    f = module.field(times, times**3)
    np.testing.assert_allclose(f(np.array([0.2, 0.7]))[:, 0], [0.008, 0.343], atol=1e-5)
    np.testing.assert_allclose(f.derivative(np.array([0.5]), (2,))[:, 0], [3.0], atol=1e-2)


def test_asking_leaves_training_mode_as_it_was() -> None:
    module = CSTModule(2, 2, width=16, depth=1, heads=2).train()
    module.field(*observations())(QUERY)
    assert module.network.training
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("coords", "values", "words"),
    [
        (np.zeros((4, 3)), np.zeros((4, 2)), r"coords has shape \(4, 3\), expected \(point, 2\)"),
        (np.zeros((4, 2)), np.zeros((5, 2)), r"values has shape \(1, 5, 2\), expected"),
        (np.zeros((4, 2)), np.full((4, 2), np.nan), "no observed entry"),
        (np.full((4, 2), np.inf), np.zeros((4, 2)), "coords has NaN or infinite"),
        (np.zeros((4, 2)), np.full((4, 2), np.inf), "values has infinite"),
    ],
)
def test_bad_observations_say_what_was_expected(coords: Any, values: Any, words: str) -> None:
    module = CSTModule(2, 2, width=16, depth=1, heads=2)
    with pytest.raises(ValueError, match=words):
        module.field(coords, values)


def test_bad_queries_say_what_was_expected(field: Field) -> None:
    f = field.observe(*observations())
    with pytest.raises(ValueError, match="query has shape"):
        f(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="query has NaN"):
        f(np.full((4, 2), np.nan))
    for index in ((1,), (1, -1), "tx"):
        with pytest.raises(ValueError, match="multi_index"):
            f.derivative(QUERY, index)  # type: ignore[arg-type]


def test_load_without_a_checkpoint_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        Field.load(tmp_path)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    module = CSTModule(1, 1, width=16, depth=1, heads=2)
    content: dict[str, Any] = {"hyper_parameters": {**module.hparams, "depth": 2}, "state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    torch.save({**content, "pytorch-lightning_version": "2.6.6"}, tmp_path / "x.ckpt")
    with pytest.raises(DataError, match=r"x.ckpt.*one of another network, or of another version: .*[Mm]issing key"):
        Field.load(tmp_path / "x.ckpt")


def test_a_file_that_would_have_to_be_unpickled_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"state_dict": {}, "hyper_parameters": Evil()}, tmp_path / "evil.ckpt")
    (tmp_path / "garbage.ckpt").write_bytes(b"not a checkpoint")
    for name in ("evil", "garbage"):
        with pytest.raises(DataError, match=f"{name}.ckpt.*expected a checkpoint"):
            Field.load(tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "owned").exists()
