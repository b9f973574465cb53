"""The calcium data module on miniature files of every kind."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cst_lightning.datamodules import calcium
from cst_lightning.datamodules.calcium import CalciumDataModule
from cst_lightning.datamodules.solvers.calcium import TwoPhoton, Widefield
from cst_lightning.errors import DataError
from cst_lightning.evaluation import truths

tifffile = pytest.importorskip("tifffile")

RNG = np.random.default_rng(0)
TRACES = RNG.uniform(50, 100, (120, 4)).astype(np.float32)
MOVIE = RNG.uniform(50, 100, (60, 8, 6)).astype(np.float32)
SMALL = {"window": 6, "observed": 0.5, "scheme": "frames", "keep_ends": True}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Simulate little, into a folder of the test's own."""
    monkeypatch.setattr(calcium, "TwoPhoton", lambda **o: TwoPhoton(rois=5, frames=300, **o))
    monkeypatch.setattr(calcium, "Widefield", Small)
    monkeypatch.chdir(tmp_path)


class Small(Widefield):
    """A small movie; a class, because it is asked for by its type."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(height=6, width=8, frames=120, seed=seed)


def suite2p(folder: Path) -> Path:
    folder.mkdir()
    for name, array in {"F": TRACES.T, "Fneu": TRACES.T / 10, "iscell": np.ones((4, 2))}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def caiman(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["estimates/C"], file["estimates/F_dff"], file["params/data/fr"] = TRACES.T, TRACES.T / 50 - 1, 10.0
    return path


def nwb(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        group = file.create_group("processing/ophys/Fluorescence/RoiResponseSeries")
        group["data"], group["timestamps"] = TRACES, np.arange(120) / 10
    return path


def npz(path: Path) -> Path:
    np.savez(path, values=TRACES, time=np.arange(120) / 10)
    return path


def tiff(path: Path) -> Path:
    tifffile.imwrite(path, MOVIE, photometric="minisblack")
    return path


FILES = {
    "suite2p": lambda p: suite2p(p / "plane0"),
    "CaImAn": lambda p: caiman(p / "a.hdf5"),
    "NWB": lambda p: nwb(p / "a.nwb"),
    "npz": lambda p: npz(p / "a.npz"),
    "TIFF": lambda p: tiff(p / "a.tif"),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_becomes_batches(tmp_path, kind):
    data = CalciumDataModule(FILES[kind](tmp_path), components=3, rate=10.0, **SMALL)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.context.coords.shape[-1] == 1
    assert batch.context.values.shape[-1] == data.channels == (3 if data.movie else 4)
    assert batch.context.mask.any()


def test_fluorescence_becomes_dff_and_dff_stays(tmp_path):
    folder = CalciumDataModule(suite2p(tmp_path / "plane0"), neuropil=None, **SMALL).recordings
    base = np.percentile(TRACES[:96], 10, axis=0)  # the training part
    np.testing.assert_allclose(folder.read(0, 0, 5), (TRACES[:5] - base) / base, rtol=1e-4, atol=1e-6)
    done = CalciumDataModule(caiman(tmp_path / "a.hdf5"), **SMALL).recordings
    np.testing.assert_allclose(done.read(0, 0, 5), TRACES[:5] / 50 - 1, rtol=1e-5)


def test_baselines_are_the_users_choice(tmp_path):
    data = CalciumDataModule(npz(tmp_path / "a.npz"), dff="mean", **SMALL)
    np.testing.assert_allclose(data.recordings.read(0, 0, 96).mean(0), 0, atol=1e-5)


@pytest.mark.parametrize(("simulated", "tokens"), [("traces", "frames"), ("traces", "points"), ("movie", "points")])
def test_noise_is_observed_and_the_truth_scored(simulated, tokens):
    data = CalciumDataModule(simulated=simulated, tokens=tokens, window=10, observed=0.5)
    data.setup()
    truth, sample = data.truth("test", 0), data.sample("test", 0)
    clean = data.recordings.truth_read(0, *_span(data))
    np.testing.assert_allclose(truth.values.numpy(), clean.reshape(truth.values.shape))
    shown = {tuple(c): v for c, v in zip(truth.coords.tolist(), truth.values.tolist(), strict=True)}
    error = [
        abs(v[0] - shown[tuple(c)][0])
        for c, v in zip(sample.context.coords.tolist(), sample.context.values.tolist(), strict=True)
    ]
    assert max(error) > 0.1


def test_training_never_sees_the_truth():
    data = CalciumDataModule(window=10, observed=0.5, scheme="frames")
    data.setup()
    noisy = data.recordings.read(0, 0, 300)
    for i in range(data.size("train")):
        sample = data.sample("train", i)
        for values in (*sample.context.values, *sample.target.values):
            assert (np.abs(noisy - values.numpy()).max(1) < 1e-6).any()


def _span(data: CalciumDataModule) -> tuple[int, int]:
    window = next(w for w in data._plan() if w.split == "test")
    return window.start, window.start + window.length


def test_components_are_scored_as_the_frames_they_stand_for(tmp_path):
    data = CalciumDataModule(tiff(tmp_path / "a.tif"), components=3, dff="none", window=6, observed=0.5)
    data.setup()
    start, stop = _span(data)
    np.testing.assert_allclose(data.scored_truth("test", 0), MOVIE[start:stop].reshape(6, 48), rtol=1e-6)
    found = data.scored(data.truth("test", 0).values)
    expected = data.tokens.decode(data.tokens.encode(MOVIE[start:stop, ..., None]))
    np.testing.assert_allclose(found, expected.reshape(6, 48), rtol=1e-4)


def test_components_are_fitted_to_observed_training_frames_only(tmp_path):
    options = {**SMALL, "components": 3, "dff": "none", "stride": 6}
    data = CalciumDataModule(tiff(tmp_path / "a.tif"), **options)
    data.setup()
    changed = MOVIE + 1000
    for i, window in enumerate(data._plan()):
        if window.split == "train":
            seen = window.start + data.observation.positions(data.truth("train", i), i)
            changed[seen] = MOVIE[seen]
    tifffile.imwrite(tmp_path / "b.tif", changed, photometric="minisblack")
    other = CalciumDataModule(tmp_path / "b.tif", **options)
    other.setup()
    np.testing.assert_allclose(other.tokens.mean, data.tokens.mean)


def test_only_pixels_inside_the_mask_are_scored(tmp_path):
    mask = np.zeros((8, 6), np.uint8)
    mask[:4] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    data = CalciumDataModule(
        tiff(tmp_path / "a.tif"), mask=tmp_path / "mask.tif", binning=2, components=2, window=6, observed=0.5
    )
    data.setup()
    assert data.recordings.shape == (1, 60, 4, 3, 1)
    assert data.scored(torch.zeros(1, 2)).shape == data.scored_truth("test", 0)[:1].shape == (1, 6)


def test_masked_pixels_are_no_points(tmp_path):
    mask = np.zeros((8, 6), np.uint8)
    mask[0, 0] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    data = CalciumDataModule(
        tiff(tmp_path / "a.tif"), mask=tmp_path / "mask.tif", tokens="points", window=6, observed=0.5, target="all"
    )
    assert (data.sample("train", 0).context.coords[:, 1:] == 0).all()


def test_dropped_frames_of_a_recording_are_gaps(tmp_path):
    values = TRACES.copy()
    values[5] = np.nan
    np.savez(tmp_path / "a.npz", values=values, time=np.arange(120.0))
    data = CalciumDataModule(tmp_path / "a.npz", window=6, observed=1.0, target="all", scheme="frames")
    assert 5 not in data.sample("train", 0).target.coords[:, 0].tolist()


def test_every_region_has_a_score():
    for options, regions in (({}, 5), ({"tokens": "points"}, 5), ({"simulated": "movie", "components": 2}, 48)):
        data = CalciumDataModule(window=10, observed=0.5, **options)
        data.setup()
        assert data.scores()["roi_r2"].moments.shape == (4, regions)


def test_references_of_rois_as_points_do_not_mix_them():
    data = CalciumDataModule(window=10, observed=0.5, tokens="points")
    names = [method.name for method in data.references()]
    assert names == ["linear", "nearest", "pchip", "cubic", "smoothing", "GP", "rbf"]


def test_a_mask_of_another_size_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((3, 3)))
    with pytest.raises(DataError, match=r"shape \(8, 6\) as the frames"):
        CalciumDataModule(tiff(tmp_path / "a.tif"), mask=tmp_path / "mask.npy", **SMALL)


def test_options_of_movies_are_refused_for_traces(tmp_path):
    with pytest.raises(ValueError, match="mask and binning are for movies"):
        CalciumDataModule(npz(tmp_path / "a.npz"), binning=2, **SMALL)


def test_a_probability_needs_suite2p(tmp_path):
    with pytest.raises(ValueError, match="only suite2p has probabilities"):
        CalciumDataModule(nwb(tmp_path / "a.nwb"), rois=0.5, **SMALL)


def test_simulation_is_kept(tmp_path):
    first, second = (CalciumDataModule(cache_dir=tmp_path / "c", **SMALL) for _ in range(2))
    first.prepare_data()
    (path,) = (tmp_path / "c").glob("*.h5")
    before = path.stat().st_mtime_ns
    second.prepare_data()
    assert path.stat().st_mtime_ns == before


def test_workers_read_the_same(tmp_path):
    alone, helped = (CalciumDataModule(tiff(tmp_path / "a.tif"), components=2, num_workers=n, **SMALL) for n in (0, 1))
    for data in (alone, helped):
        data.setup()
    first, second = (next(iter(data.val_dataloader())) for data in (alone, helped))
    torch.testing.assert_close(first.context.values, second.context.values)


def test_pixels_that_were_never_measured_are_not_scored(tmp_path):
    movie = MOVIE.copy()
    movie[:, 0, :2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", movie, photometric="minisblack")
    data = CalciumDataModule(tmp_path / "a.tif", components=2, dff="none", **SMALL)
    data.setup()
    truth = data.scored_truth("test", 0)
    assert truth.shape[-1] == data.scored(torch.zeros(1, 2)).shape[-1] == 46
    assert truth.isfinite().any()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("npz", {"interleaved": 2}),
        ("npz", {"planes": 5}),
        ("npz", {"neuropil": 0.3}),
        ("npz", {"rois": "all"}),
        ("NWB", {"neuropil": 0.3}),
        ("NWB", {"allow_pickle": True}),
        ("CaImAn", {"neuropil": 0.3}),
        ("CaImAn", {"axes": "TYX"}),
        ("TIFF", {"layout": "time_last"}),
        ("TIFF", {"signal": "F"}),
        ("TIFF", {"rois": "all"}),
        ("suite2p", {"channel": 1}),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path, kind, options):
    with pytest.raises(DataError, match=f"{next(iter(options))}: expected an option of .* which would do nothing"):
        CalciumDataModule(FILES[kind](tmp_path), **options, **SMALL)


def test_no_neuropil_is_true_of_any_file(tmp_path):
    assert CalciumDataModule(nwb(tmp_path / "a.nwb"), neuropil=None, **SMALL).channels == 4


@pytest.mark.parametrize("kind", ["NWB", "npz", "TIFF", "CaImAn"])
def test_endings_may_be_in_capitals(tmp_path, kind):
    path = FILES[kind](tmp_path)
    path = path.rename(path.with_suffix(path.suffix.upper()))
    assert CalciumDataModule(path, components=2, **SMALL).recordings.shape[1] in (120, 60)


@pytest.mark.parametrize("signal", ["C", "C+YrA", "S"])
def test_traces_of_caiman_are_left_as_they_are(tmp_path, signal):
    path = caiman(tmp_path / "a.hdf5")
    traces = np.random.default_rng(0).normal(size=(4, 120)).astype(np.float32)  # no background: around 0
    with h5py.File(path, "a") as file:
        del file["estimates/C"]
        file["estimates/C"], file["estimates/YrA"], file["estimates/S"] = traces, 0 * traces, traces
    found = CalciumDataModule(path, signal=signal, **SMALL).recordings
    np.testing.assert_allclose(found.read(0, 0, 120), traces.T)
    assert found.unit == "a.u."


def _relative(tmp_path, values, **options):
    """dF/F of a recording, and the module that made it."""
    np.savez(tmp_path / "a.npz", values=values, time=np.arange(len(values)) / 10)
    own = {"baseline_window": 2.0, "window": 6, "observed": 0.5, "layout": "time_first", "dff": "percentile"}
    data = CalciumDataModule(tmp_path / "a.npz", **{**own, **options})
    return data.recordings.read(0, 0, len(values)), data


@pytest.mark.parametrize("dff", ["percentile", "mean", "window"])
@pytest.mark.parametrize(("values", "options"), [
    (TRACES, {"scheme": "frames"}), (TRACES, {"scheme": "points"}), (TRACES, {"scheme": "points", "tokens": "points"}),
    (MOVIE, {"scheme": "frames"}), (MOVIE, {"scheme": "points", "tokens": "points"}),
    (MOVIE, {"scheme": "points", "tokens": "patches", "patch": 2}),
    (MOVIE, {"scheme": "points", "tokens": "patches", "patch": 4, "overlap": 2}),
])  # fmt: skip
def test_what_training_must_not_see_does_not_change_its_dff(tmp_path, dff, values, options):
    options = {"divide": "within", "dff": dff, "components": 2, **options}
    first, data = _relative(tmp_path, values, **options)
    own = data.tokens
    seen = data._draw().observed(0, 0, len(values), int(np.prod(own.places)), inner=True)
    cells = (
        own.decode(np.repeat(seen.reshape(len(seen), *own.places, 1), own.channels, -1).astype(float)) > 0
        if own.axes
        else np.broadcast_to(seen, (len(seen), values[0].size))
    )
    cells = cells.reshape(values.shape)
    assert 0.2 < cells.mean() < 0.95
    second, _ = _relative(tmp_path, np.where(cells, values, values + 50), **options)
    np.testing.assert_array_equal(first.reshape(values.shape)[cells], second.reshape(values.shape)[cells])


@pytest.mark.parametrize("dff", ["percentile", "mean"])
def test_a_constant_baseline_comes_from_the_training_part(tmp_path, dff):
    first, _ = _relative(tmp_path, TRACES, divide="time", dff=dff)
    changed = TRACES.copy()
    changed[96:] += 50
    second, _ = _relative(tmp_path, changed, divide="time", dff=dff)
    np.testing.assert_array_equal(first[:96], second[:96])


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (TRACES, {"scheme": "frames"}),
        (TRACES, {"scheme": "points"}),
        (TRACES, {"scheme": "points", "tokens": "points"}),
        (MOVIE, {"scheme": "frames", "components": 2}),
        (MOVIE, {"scheme": "region", "tokens": "points"}),
    ],
)
def test_a_moving_baseline_does_not_follow_what_the_test_asks_for(tmp_path, values, options):
    options = {"divide": "time", "dff": "window", **options}
    values = values.copy()
    values[-4] = np.nan  # a gap changes which frames are drawn
    first, data = _relative(tmp_path, values, **options)
    places, asked = int(np.prod(data.tokens.places)), np.zeros(len(values), dtype=bool)
    for i in range(data.size("test")):
        window, mask = data.window_of("test", i), data.sample("test", i).target.mask
        asked[window.start : window.stop] = mask.reshape(-1, places).any(1)
    assert asked.any()
    changed = values.copy()
    changed[asked] += 50
    second, _ = _relative(tmp_path, changed, **options)
    np.testing.assert_array_equal(first[~asked], second[~asked])


def test_a_moving_baseline_follows_what_is_observed_of_the_test(tmp_path):
    drift = TRACES * np.linspace(1, 4, 120, dtype=np.float32)[:, None]
    found, _ = _relative(tmp_path, drift, divide="time", dff="window", scheme="frames")
    assert found[96:].mean() < 0.6


DARK = [
    {"tokens": "components", "components": 2},
    {"tokens": "frames"},
    {"tokens": "patches", "patch": 2},
    {"tokens": "patches", "patch": 4, "overlap": 2},
]


def _half_dark(tmp_path, **options):
    movie = MOVIE.copy()
    movie[:, :4] /= 100
    tifffile.imwrite(tmp_path / "a.tif", movie, photometric="minisblack")
    data = CalciumDataModule(tmp_path / "a.tif", **SMALL, **options)
    data.setup()
    return data


@pytest.mark.parametrize("options", DARK)
def test_dark_pixels_are_not_scored(tmp_path, options):
    data = _half_dark(tmp_path, **options)
    truth, sample = data.scored_truth("test", 0), data.sample("test", 0)
    assert truth.reshape(6, -1).shape[1] == 24
    assert (truth != 0).all()
    assert data.scored(sample.target.values).shape == truth.shape
    assert data.scores()["roi_r2"].moments.shape == (4, 24)


@pytest.mark.parametrize("options", DARK)
def test_dark_pixels_are_left_out_of_pictures(tmp_path, options):
    data = _half_dark(tmp_path, **options)
    values = torch.nan_to_num(data.truth("test", 0).values).numpy()
    np.testing.assert_array_equal(
        np.isnan(data.pictures(values)), np.arange(8)[None, :, None, None] < 4 + np.zeros((6, 8, 6, 1))
    )


@pytest.mark.parametrize("options", DARK)
def test_a_perfect_prediction_of_a_movie_with_dark_pixels_has_no_error(tmp_path, options):
    data = _half_dark(tmp_path, **options)
    batch = next(iter(data.whole_dataloader("test")))
    for b, truth in enumerate(truths(data, batch, 0)):
        found = data.scored(torch.nan_to_num(batch.target.values[b : b + 1]))
        if data.kind != "components":
            torch.testing.assert_close(found[truth.mask], truth.values[truth.mask], atol=1e-5, rtol=0)
        assert truth.mask.sum() * truth.values.shape[-1] == 3 * 24


def test_a_reader_with_a_baseline_travels_without_its_data_module(tmp_path):
    values, data = _relative(tmp_path, TRACES, divide="within", scheme="frames")
    for made in (data, _relative(tmp_path, TRACES, divide="within", scheme="frames")[1]):
        copy = pickle.loads(pickle.dumps(made.recordings.read))
        assert copy.known is None
        np.testing.assert_array_equal(copy(0, 0, 120), values)
