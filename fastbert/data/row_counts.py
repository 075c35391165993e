"""Numbers of rows in words, which agree with them."""

from pathlib import Path


def count_rows(count: int, which: str = "") -> str:
    """Return a number of rows in words: ``1 row``, ``2 rows``, ``2 other rows``."""
    return f"{count} {which}row{'' if count == 1 else 's'}"


def some_rows(part: int, whole: int, path: Path) -> str:
    """Return the beginning of a sentence about rows of a file, of which there is at least one."""
    if part == whole:
        return f"The only row of {path}" if whole == 1 else f"All {whole} rows of {path}"
    return f"{part} of the {whole} rows of {path}"
