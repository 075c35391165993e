"""Errors that come from a full disk, named as such."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastbert.runtime.errors import FastBertError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_FITS = 64 * 1024  # bytes; a writer that failed for lack of space leaves less


@contextmanager
def full_disk_named(where: Path, output: Path) -> Iterator[None]:
    """Raise an OSError that names a full disk where torch or safetensors raise their own errors for it.

    :param where: a directory on the disk.
    :param output: what the error names.
    :raises OSError: ENOSPC or EDQUOT, with ``output`` as its file name. Other errors pass unchanged.
    """
    try:
        yield
    except FastBertError:
        raise
    except OSError as error:
        elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(where)
        if error.errno not in _FULL or elsewhere:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(output)) from error
    except Exception as error:
        number = next((code for code in _FULL if os.strerror(code) in str(error)), None)
        if number is None and (free := _free_bytes(where)) is not None and free < _NOTHING_FITS:
            number = errno.ENOSPC
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(output)) from error


def _free_bytes(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
