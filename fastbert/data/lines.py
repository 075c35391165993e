"""Lines of UTF-8 text files and of stdin. An error names the line that cannot be read and how to convert the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastbert.runtime.errors import DataError

_BOM = b"\xef\xbb\xbf"
_BYTE_ORDER_MARKS = {  # UTF-32's begins as UTF-16's does
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# Without a byte order mark: which of every four bytes are NUL in a text that is mostly ASCII.
_NULS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
    (False, True, True, True): "UTF-32LE",
    (False, False, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
    (True, True, False, False): "UTF-32BE",
}
_OTHER_FILES = {
    b"\x1f\x8b": "compressed (gzip): unpack it",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it",
    b"PK\x03\x04": "a zip archive or a workbook of a spreadsheet: unpack it, or save the sheet as .csv",
    b"PAR1\x15": "Parquet: let its name end in .parquet",
}


@contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Turn an OSError into a `DataError` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"The data file {name} does not exist.") from error
    except OSError as error:
        raise DataError(f"The data file {name} cannot be read: {error.strerror or error}.") from error


@contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """Open a data file, or a pipe; errors as in `reading`."""
    with reading(path), path.open("rb") as file:
        yield file


def utf8_lines(stream: Iterable[bytes], name: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text), without a byte order mark and the "\\r" of "\\r\\n".

    :param stream: lines as bytes, which end at "\\n" only.
    :raises DataError: the bytes are not UTF-8.
    """
    for number, raw in enumerate(stream, start=1):
        before = 0
        if number == 1:
            _refuse_other_encodings(raw, name)
            before = len(_BOM) if raw.startswith(_BOM) else 0
        try:
            text = raw[before:].decode()
        except UnicodeDecodeError as error:
            place = before + error.start
            raise DataError(
                f"{name}, line {number}: byte {place + 1} (0x{raw[place]:02x}) is not UTF-8. "
                "Convert the file, for example with: iconv -f latin1 -t utf-8"
            ) from error
        yield number, text.removesuffix("\n").removesuffix("\r")


def _refuse_other_encodings(first: bytes, name: str | Path) -> None:
    """Refuse files that are valid UTF-8 by accident: ASCII in UTF-16 is ASCII with a NUL after each character."""
    for signature, kind in _OTHER_FILES.items():
        if first.startswith(signature):
            raise DataError(f"{name} is {kind}.")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if first.startswith(mark)), None)
    if encoding is None and len(first) >= 4:
        lanes = [first[lane:4096:4] for lane in range(4)]
        encoding = _NULS.get(tuple(2 * lane.count(0) > len(lane) for lane in lanes))
    if encoding is not None:
        raise DataError(
            f"{name}, line 1: the file is {encoding}, not UTF-8. "
            f"Convert it, for example with: iconv -f {encoding} -t UTF-8"
        )
