"""Every format in miniature, with its real names and layout, written as the programs write it that make such files."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

T, Y, X = 6, 5, 4
TIME = np.array([0.0, 0.1, 0.2, 0.35, 0.4, 0.5])
MOVIE = np.random.default_rng(0).random((T, Y, X)).astype(np.float32)
TRACES = np.random.default_rng(1).random((T, 3)).astype(np.float32)


class Format(NamedTuple):
    """A format in miniature.

    Attributes:
        write: (folder, time, values of channel c) -> what is to be opened.
        shape: as `Source.shape`.
        timed: whether times are in the file.
        floats: whether it can hold NaN.
        options: of the reader.
        needs: an optional package.
    """

    write: Callable[[Path, np.ndarray, np.ndarray], Path]
    shape: tuple[int, ...]
    timed: bool = True
    floats: bool = True
    options: Mapping[str, Any] = MappingProxyType({})
    needs: str = ""


def side(values: np.ndarray, axis: int) -> np.ndarray:
    """Places along an axis of values."""
    return np.arange(values.shape[axis]) / values.shape[axis]


def npz(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    np.savez(folder / "a.npz", values=values, time=time, y=side(values, 1), x=side(values, 2))
    return folder / "a.npz"


def npz_points(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    coords = np.stack([time, side(values, 0)], -1)
    np.savez_compressed(folder / "a.npz", coords=coords, values=values[:, 0], sample=np.arange(len(values)) % 2)
    return folder / "a.npz"


def npy(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    np.save(folder / "a.npy", values)
    return folder / "a.npy"


def npy_folder(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    for name, array in {"values": values, "time": time, "y": side(values, 1), "x": side(values, 2)}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def hdf5(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("values", data=values, chunks=(min(2, len(values)), *values.shape[1:]), compression="gzip")
        file["time"], file["y"], file["x"] = time, side(values, 1), side(values, 2)
    return folder / "a.h5"


def mat5(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    savemat(folder / "a.mat", {"values": values, "time": time, "y": side(values, 1), "x": side(values, 2)})
    return folder / "a.mat"


def mat73(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        arrays = {"values": values, "time": time[None], "y": side(values, 1)[None], "x": side(values, 2)[None]}
        for key, array in arrays.items():
            file[key] = array.transpose()
    with (folder / "a.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return folder / "a.mat"


def labelled(time: np.ndarray, values: np.ndarray) -> Any:
    import xarray as xr

    coords = {
        "time": ("time", time, {"units": "hours since 1980-01-14 14:00:00"}),
        "lat": np.arange(values.shape[1]) * 2.5,
        "lon": np.arange(values.shape[2]) * 2.5,
    }
    return xr.Dataset({"UWND": (("time", "lat", "lon"), values, {"units": "m/s"})}, coords)


def netcdf(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    labelled(time, values).to_netcdf(folder / "a.nc", engine="netcdf4")
    return folder / "a.nc"


def netcdf3(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    labelled(time, values).to_netcdf(folder / "a.nc", format="NETCDF3_CLASSIC", engine="netcdf4")
    return folder / "a.nc"


def zarr(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labelled(time, values).to_zarr(folder / "a.zarr", zarr_format=2, consolidated=False)
    return folder / "a.zarr"


def csv(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    rows = np.concatenate([time[:, None], side(values, 0)[:, None], values[:, 0, :2]], 1)
    np.savetxt(folder / "a.csv", rows, delimiter=",", header="time,x,u,v", comments="")
    return folder / "a.csv"


def tiff(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    import tifffile

    tifffile.imwrite(folder / "a.tif", (values * 1000).astype(np.uint16), photometric="minisblack")
    return folder / "a.tif"


def ome_tiff(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    import tifffile

    metadata = {"axes": "TYX", "TimeIncrement": 0.1, "TimeIncrementUnit": "s"}
    tifffile.imwrite(folder / "a.ome.tif", values, compression="zlib", photometric="minisblack", metadata=metadata)
    return folder / "a.ome.tif"


def ome_volumes(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    """Volumes of three planes, each dimmer than the one above."""
    import tifffile

    volumes = values[:, None] * np.array([1.0, 0.8, 0.6], values.dtype)[:, None, None]
    size = {f"PhysicalSize{axis}": length for axis, length in {"X": 1.0, "Y": 1.0, "Z": 4.0}.items()}
    metadata = {"axes": "TZYX", "TimeIncrement": 0.1, "TimeIncrementUnit": "s", **size}
    tifffile.imwrite(folder / "v.ome.tif", volumes, photometric="minisblack", metadata=metadata)
    return folder / "v.ome.tif"


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((values * 255).astype(np.uint8)).save(path)


def pictures(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    for i, frame in enumerate(values):
        picture(folder / f"{i:04d}.png", frame)
    (folder / "times.txt").write_text("\n".join(f"{t:.9f}" for t in time))
    return folder


def kitti_raw(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    drive = folder / "2011_09_26" / "2011_09_26_drive_0001_sync"
    for i, frame in enumerate(values):
        picture(drive / "image_00" / "data" / f"{i:010d}.png", frame)
    stamps = (f"2011-09-26 13:02:{25 + t:012.9f}" for t in time)
    (drive / "image_00" / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    return folder / "2011_09_26"


def kitti_odometry(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    for i, frame in enumerate(values):
        picture(folder / "sequences" / "00" / "image_0" / f"{i:06d}.png", frame)
    (folder / "sequences" / "00" / "times.txt").write_text("\n".join(f"{t:e}" for t in time))
    return folder / "sequences"


def video(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    import av

    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.height, stream.width = (n // 4 * 16 for n in values.shape[1:])
        stream.pix_fmt = "yuv420p"
        for i, frame in enumerate(values):
            whole = frame[tuple(slice(0, n // 4 * 4) for n in frame.shape)]
            shown = np.kron((whole * 255).astype(np.uint8), np.ones((4, 4), np.uint8))
            picture = av.VideoFrame.from_ndarray(np.repeat(shown[..., None], 3, -1), format="rgb24")
            picture.pts = i
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return folder / "a.mp4"


def suite2p(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    plane = folder / "suite2p" / "plane0"
    plane.mkdir(parents=True)
    np.save(plane / "F.npy", values.reshape(len(values), -1)[:, :3].T.copy())
    np.save(plane / "Fneu.npy", values.reshape(len(values), -1)[:, 3:6].T.copy())
    np.save(plane / "iscell.npy", np.array([[1, 0.9], [0, 0.2], [1, 0.8]]))
    return folder / "suite2p"


def caiman(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["estimates/C"] = values.reshape(len(values), -1)[:, :3].T
        file["estimates/F_dff"] = values.reshape(len(values), -1)[:, 3:6].T
        file["estimates/A/shape"] = np.array([20, 3])
        file["estimates/YrA"], file["params/data/fr"] = "NoneType", 10.0
    return folder / "a.hdf5"


def nwb2(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        series = file.create_group("processing/ophys/DfOverF/RoiResponseSeries")
        series.attrs["neurodata_type"] = "RoiResponseSeries"
        series["data"], series["timestamps"] = values.reshape(len(values), -1)[:, :3], time
        series["data"].attrs["unit"] = "n.a."
    return folder / "a.nwb"


def nwb1(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.nwb", "w") as file:
        file["nwb_version"] = "NWB-1.0.5"
        plane = file.create_group("processing/brain_observatory_pipeline/DfOverF/imaging_plane_1")
        plane["data"], plane["timestamps"] = values.reshape(len(values), -1)[:, :3].T, time
    return folder / "a.nwb"


def pdebench(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["tensor"] = np.stack([values[..., 0], values[..., 1]])
        file["t-coordinate"], file["x-coordinate"] = time, side(values, 1)
    return folder / "a.hdf5"


def pdebench_groups(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for seed in ("0000", "0001"):
            file[f"{seed}/data"] = values[..., None]
            file[f"{seed}/grid/t"], file[f"{seed}/grid/x"] = time, side(values, 1)
            file[f"{seed}/grid/y"] = side(values, 2)
    return folder / "a.h5"


def well(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "a.hdf5", "w") as file:
        file.attrs.update({"dataset_name": "miniature", "n_spatial_dims": 2, "n_trajectories": 1})
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        dimensions["time"], dimensions["x"], dimensions["y"] = time, side(values, 1), side(values, 2)
        file["t0_fields/density"] = values[None]
        file["t1_fields/velocity"] = np.stack([values, 2 * values], -1)[None]
        file.create_group("t2_fields")
    return folder / "a.hdf5"


def fno_v5(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    savemat(folder / "ns.mat", {"u": np.stack([values[:, :4].transpose(1, 2, 0)] * 2), "t": time[None]})
    return folder / "ns.mat"


def fno_v73(folder: Path, time: np.ndarray, values: np.ndarray) -> Path:
    with h5py.File(folder / "ns.mat", "w", userblock_size=512) as file:
        file["u"], file["t"] = np.stack([values[:, :4].transpose(1, 2, 0)] * 2).transpose(), time[:, None]
    with (folder / "ns.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return folder / "ns.mat"


GRID = (1, T, Y, X, 1)
FORMATS = {
    "npz": Format(npz, GRID),
    "npz of points": Format(npz_points, (2, 4)),
    "npy": Format(npy, GRID, timed=False, options={"layout": "tyx"}),
    "npy folder": Format(npy_folder, GRID),
    "h5": Format(hdf5, GRID),
    "mat v5": Format(mat5, GRID),
    "mat v7.3": Format(mat73, GRID),
    "nc": Format(netcdf, GRID, needs="netCDF4"),
    "nc 3": Format(netcdf3, GRID, needs="netCDF4"),
    "zarr": Format(zarr, GRID, needs="zarr"),
    "csv": Format(csv, (1, 2), needs="pandas"),
    "tiff": Format(tiff, GRID, timed=False, floats=False, needs="tifffile"),
    "ome-tiff": Format(ome_tiff, GRID, timed=False, needs="tifffile"),
    "ome-tiff volumes": Format(ome_volumes, (1, T, 3, Y, X, 1), timed=False, needs="tifffile"),
    "pictures": Format(pictures, GRID, floats=False),
    "kitti raw": Format(kitti_raw, GRID, floats=False),
    "kitti odometry": Format(kitti_odometry, GRID, floats=False),
    "video": Format(video, (1, T, 16, 16, 1), timed=False, floats=False, needs="av"),
    "suite2p": Format(suite2p, (1, T, 2), timed=False),
    "caiman": Format(caiman, (1, T, 3), timed=False),
    "nwb 2": Format(nwb2, (1, T, 3)),
    "nwb 1": Format(nwb1, (1, T, 3)),
    "pdebench": Format(pdebench, (2, T, Y, 1)),
    "pdebench groups": Format(pdebench_groups, (2, T, Y, X, 1)),
    "the well": Format(well, (1, T, Y, X, 3)),
    "fno v5": Format(fno_v5, (2, T, 4, 4, 1)),
    "fno v7.3": Format(fno_v73, (2, T, 4, 4, 1)),
}


def written(name: str, folder: Path, time: np.ndarray = TIME, values: np.ndarray = MOVIE) -> Path:
    """Write a format into a folder, or skip the test if its package is missing."""
    if FORMATS[name].needs:
        pytest.importorskip(FORMATS[name].needs)
    folder.mkdir(parents=True, exist_ok=True)
    return FORMATS[name].write(folder, time, values)
