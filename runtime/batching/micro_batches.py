"""Cuts rows into batches and groups of similar length."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BATCH_TOKENS = 1024  # in a micro-batch, padding included: studies/reports/batches.json


def micro_batches(lengths: ArrayLike, *, batch_size: int | None, tokens: int = BATCH_TOKENS) -> list[NDArray[np.int64]]:
    """Cut rows into batches of similar length, longest first.

    :param lengths: int [rows], in tokens.
    :param batch_size: most rows in a batch; None: only ``tokens`` bounds them.
    :param tokens: most tokens in a batch, padding included; a longer row is a batch by itself.
    :returns: the rows of each batch; every row is in one.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) == 1:  # one text: nothing to sort
        return [np.zeros(1, dtype=np.int64)]
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, int(sizes[order[start]]))  # of the first row, the longest
        count = max(1, tokens // width)
        stop = start + (count if batch_size is None else min(count, batch_size))
        batches.append(order[start:stop])
        start = stop
    return batches


def length_groups(lengths: ArrayLike, *, least_tokens: int) -> list[NDArray[np.int64]]:
    """Cut rows into groups of similar length, shortest first, each large enough to fill batches.

    A group ends where the next row would be padded to another size (`padded_size`). A group of fewer than
    ``least_tokens``, padding included, runs with the next longer one.

    :param lengths: int [rows], in tokens.
    :returns: the rows of each group; every row is in one.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    groups: list[NDArray[np.int64]] = []
    start = 0
    for stop in range(1, len(order) + 1):
        width, last = int(sizes[order[stop - 1]]), stop == len(order)
        full = (stop - start) * width >= least_tokens
        if last or (full and sizes[order[stop]] > padded_size(width)):
            groups.append(order[start:stop])
            start = stop
    return groups


def padded_size(number: int) -> int:
    """Return the smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below a number: at most half more."""
    power = 1 << (number - 1).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power
