"""Videos and drives as samples."""

import numpy as np
import pytest
import torch
from PIL import Image

from cst_lightning.datamodules.kitti import KITTIDataModule, VideoDataModule
from cst_lightning.errors import DataError

SMALL = {"height": 12, "frames": 24, "train": 1.0, "val": 1.0, "test": 1.0, "dummies": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def drive(cache, **options):
    return KITTIDataModule(**{**SMALL, "cache_dir": cache, "window": 8, "tokens": "patches", "patch": 3, **options})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p").mkdir()
    for number in range(20):
        wave = 127 + 100 * np.sin(np.arange(12)[:, None] / 3 + np.arange(16) / 4 + number / 5)
        Image.fromarray(wave.astype(np.uint8)).save(tmp_path / "p" / f"{number}.png")
    return tmp_path / "p"


def test_without_a_path_a_drive_is_rendered(cache):
    data = drive(cache)
    assert data.recordings.shape == (1, 24, 12, 21, 1)
    steps = np.diff(data.recordings.axes[0].values)
    assert steps.mean() == pytest.approx(0.1, rel=0.02)
    assert steps.std() > 1e-3


def test_windows_of_the_test_have_the_same_numbers_whatever_is_drawn(cache):
    # a training window needs three observed frames, so that the draw decides how many there are
    found = [drive(cache, stride=1, observed=0.5, scheme="frames", seed=seed) for seed in range(4)]
    for data in found:
        data.setup()
    assert len({len(data.whole_dataloader("train").dataset) for data in found}) > 1
    numbers = {tuple(data.whole_dataloader("test").dataset.members.tolist()) for data in found}
    assert len(numbers) == 1


def test_a_drive_is_rendered_once(cache):
    first, second = drive(cache), drive(cache)
    assert first.recordings.read.build() == second.recordings.read.build()


@pytest.mark.parametrize(
    ("tokens", "dimension", "channels"), [("points", 3, 1), ("patches", 3, 9), ("frames", 1, 252), ("components", 1, 5)]
)
def test_tokens(cache, tokens, dimension, channels):
    data = drive(cache, tokens=tokens, patch=3, components=5)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.context.coords.shape[-1] == data.dimension == dimension
    assert batch.target.values.shape[-1] == data.channels == channels


@pytest.mark.parametrize("window", [5, 8, 13, 24, None])
def test_every_dropped_frame_is_scored_once(cache, window):
    data = drive(cache, window=window, patch=3)
    data.setup()
    scored = []
    for i in range(data.size("test")):
        sample, window_ = data.sample("test", i), data.window_of("test", i)
        whole = sample.target.mask.reshape(sample.frames, -1)
        assert (whole.all(1) == whole.any(1)).all()
        scored += (window_.start + torch.where(whole.all(1))[0]).tolist()
    # one lies in the middle of so many dropped ones that no window of five frames has anything to restore it from
    assert len(scored) == len(set(scored)) == (11 if window == 5 else 12)


def test_training_and_validation_never_see_dropped_frames(cache):
    data = drive(cache, patch=3)
    data.setup()
    assert not asked(data, "test") & (asked(data, "train") | asked(data, "val"))


def asked(data, split):
    """Times, within the whole recording, that a split's samples are scored or trained at."""
    found = set()
    for i in range(data.size(split)):
        target, start = data.sample(split, i).target, data.recordings.axes[0].values[data.window_of(split, i).start]
        found |= {round(float(t) + start, 9) for t in target.coords[target.mask][:, 0].unique()}
    return found


def test_frames_that_choose_the_weights_are_not_trained_on(cache):
    data = drive(cache, frames=40, stride=1)
    data.setup()
    assert asked(data, "val")
    assert not asked(data, "val") & asked(data, "train")


def test_pictures_come_back_from_blended_patches(cache):
    data = drive(cache, patch=6, overlap=3)
    truth = data.truth("test", 0).values.numpy()
    first = data.window_of("test", 0).start
    known = ~np.isnan(truth).any(1).reshape(8, -1).any(1)
    np.testing.assert_allclose(
        data.pictures(np.nan_to_num(truth))[known], data.recordings.read(0, first, first + 8)[known], atol=1e-6
    )


@pytest.mark.parametrize("tokens", ["patches", "frames", "components"])
def test_a_perfect_prediction_has_perfect_scores(cache, tokens):
    data = drive(cache, tokens=tokens, patch=3, components=6)
    sample = data.sample("test", 0)
    truth = data.scored_truth("test", 0)[None]
    for name, score in data.scores().items():
        score.update(truth, truth, sample.target.mask[None], sample.frames)
        assert score.compute().item() > {"psnr": 100, "ssim": 0.9999}[name]


def test_references_are_those_of_frames_where_frames_are_observed(cache):
    assert [m.name for m in drive(cache).references()] == ["neighbour_mean", "linear", "cubic", "nearest"]
    assert "rbf" in [m.name for m in drive(cache, scheme="points").references()]


def test_a_folder_of_pictures_is_read(folder, tmp_path):
    data = VideoDataModule(folder, rate=10.0, height=None, window=6, cache_dir=tmp_path / "cache")
    data.setup()
    assert data.recordings.shape == (1, 20, 12, 16, 1)


def test_parts_of_time_do_not_overlap(folder, tmp_path):
    options = {"train": 0.5, "val": 0.25, "test": 0.25, "window": 5, "stride": 1, "divide": "time"}
    data = VideoDataModule(folder, rate=10.0, height=None, cache_dir=tmp_path / "cache", **options)
    data.setup()
    spans = {split: [data.window_of(split, i) for i in range(data.size(split))] for split in ("train", "val", "test")}
    assert max(w.start + w.length for w in spans["train"]) <= min(w.start for w in spans["val"])
    assert max(w.start + w.length for w in spans["val"]) <= min(w.start for w in spans["test"])


def test_a_folder_that_is_no_kitti_is_told(folder):
    with pytest.raises(DataError, match="no drive and no sequence"):
        KITTIDataModule(folder)


def test_training_windows_with_too_few_observed_frames_are_left_out(cache):
    data = drive(cache, window=4, stride=1, target="masked", observed=0.4, context=(0.5, 0.9))
    data.setup()
    counts = [len(data.sample("train", i).context.coords[:, 0].unique()) for i in range(data.size("train"))]
    assert 0 < len(counts) < 21
    assert min(counts) == 2


@pytest.mark.parametrize(
    "options", [{"rate": 5.0}, {"frames": 7}, {"times": "nothing.txt"}, {"jitter": 0.0}, {"scene_seed": 3}]
)
def test_options_that_a_drive_does_not_have_are_refused(tmp_path, options):
    pictures = tmp_path / "2011_09_26_drive_0001_sync" / "image_00" / "data"
    pictures.mkdir(parents=True)
    for number in range(4):
        Image.new("L", (16, 12)).save(pictures / f"{number:010d}.png")
    (pictures.parent / "timestamps.txt").write_text("0\n1\n2\n3\n")
    usual = {"height": None, "window": 4, "cache_dir": tmp_path / "cache"}
    assert KITTIDataModule(tmp_path, **usual).recordings.shape[1] == 4
    with pytest.raises(DataError, match=f"{next(iter(options))}: expected none of KITTI.*which would do nothing"):
        KITTIDataModule(tmp_path, **usual, **options)


@pytest.mark.parametrize("options", [{"frames": 7}, {"scene_seed": 3}])
def test_options_that_pictures_do_not_have_are_refused(folder, options):
    with pytest.raises(DataError, match="expected none of a folder of pictures"):
        VideoDataModule(folder, rate=10.0, height=None, window=6, **options)


@pytest.mark.parametrize("options", [{"rate": 5.0}, {"times": "nothing.txt"}, {"frames": 7}])
def test_options_that_a_video_does_not_have_are_refused(tmp_path, options):
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match="expected none of a video"):
        VideoDataModule(tmp_path / "a.mp4", **options)


@pytest.mark.parametrize("options", [{"crop": [0, 6, 0, 6]}, {"drive": "0001"}, {"camera": 2}, {"times": "a.txt"}])
def test_options_of_files_are_refused_without_one(cache, options):
    with pytest.raises(DataError, match=f"{next(iter(options))}: expected none of a rendered drive"):
        drive(cache, **options)
