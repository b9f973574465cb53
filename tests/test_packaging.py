"""The wheel holds what the repository does, under one name, and works on its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = SETTINGS["tool"]["setuptools"]["package-dir"]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy: a build in place would leave folders behind, and would pick up old ones."""
    source = tmp_path_factory.mktemp("source")
    skip = shutil.ignore_patterns("__pycache__")
    for folder in MAPPED.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=skip, dirs_exist_ok=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist")
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel alone; its dependencies are read from this one."""
    place = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=place)
    return place / "bin"


def test_every_package_is_listed() -> None:
    found = set()
    for name, folder in MAPPED.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert found == set(SETTINGS["tool"]["setuptools"]["packages"])


def test_wheel_claims_one_top_level_name(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"cst_lightning"}


def test_wheel_holds_every_module(wheel: Path) -> None:
    expected = {
        f"{name.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}"
        for name, folder in MAPPED.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_installed_command_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    text = run(installed / "cst-fit", "--help", cwd=tmp_path)
    assert "--config FILE" in text


def test_installed_packages_are_the_wheels_own(installed: Path, tmp_path: Path) -> None:
    # A folder on PYTHONPATH has no .pth files read, so the editable install beside the dependencies stays out of sight.
    code = "import cst_lightning.datamodules.readers as r, cst_lightning.callbacks as c; print(r.__file__, c.__file__)"
    paths = run(installed / "python", "-c", code, cwd=tmp_path, PYTHONPATH=sysconfig.get_path("purelib")).split()
    assert all(path.startswith(str(installed.parent)) for path in paths)


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, cst_lightning, cst_lightning.cli; print('torch' in sys.modules)"
    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "False"


def test_version_is_written_once_and_the_same() -> None:
    import cst_lightning

    assert cst_lightning.__version__ == SETTINGS["project"]["version"]


def test_unknown_attribute_is_an_attribute_error() -> None:
    import cst_lightning

    with pytest.raises(AttributeError, match="no attribute 'Feild'"):
        cst_lightning.Feild  # noqa: B018
