"""One process at a time writes into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from causalecg.errors import InputError


@contextmanager
def only_writer(out: Path, *, among: bool = True) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, as the one process that writes into it.

    Args:
        out: the folder; a file in its place is for the caller to refuse.
        among: whether this is the process that holds it, of those that ``accelerate launch`` started.

    Raises InputError while another process holds it. The system lets go of it when the process ends, however it ends,
    so that nothing has to be removed after a crash. A file system that knows no locks, and Windows, go without.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    if not among or (out.exists() and not out.is_dir()):
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    # The folder itself is locked: a lock file in it would be one more thing there.
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is writing into {out}; wait until it has finished, or choose another --out"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)
