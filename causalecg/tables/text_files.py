"""What a file of text seems to be where it is not what is read: UTF-8, and in a .csv commas between the cells."""

from __future__ import annotations

from pathlib import Path

from causalecg.errors import InputError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_LOOKED_AT = 2**20


def require_plain_text(path: Path, *, commas: bool) -> None:
    """InputError that says what a file seems to be. ``commas``: the cells of its first line are separated by them."""
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if start.startswith(_UTF_16) or b"\0" in start[:100]:
        raise InputError(f"{path} seems to be UTF-16 text, or no text; save it as UTF-8")
    try:
        # Cut at the end of a line, so that no character is cut in two.
        start[: start.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError as error:
        place = start.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {place} is not UTF-8; the file seems to be of an older encoding, such as Windows-1252: save "
            "it as UTF-8"
        ) from None
    if not commas:
        return
    header = start.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    for separator, name in _SEPARATORS.items():
        if header.count(separator) > header.count(","):
            raise InputError(f"{path} seems to be separated by {name}; separate its cells by commas")
