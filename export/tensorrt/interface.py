"""What an engine must look like for the chain to run it: its inputs and outputs, and its shapes in each profile."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastbert.runtime import tensors
from fastbert.runtime.manifest import Bucket

_Shape = tuple[int, ...]
FLOAT = "float"  # float16 or float32, one of them in all of an engine's tensors of this kind
INT64, FLOAT32 = "INT64", "FLOAT"  # names of the libraries' types


@dataclass(frozen=True)
class Limits:
    """An input's smallest and largest shape in a profile, and the one that it is tuned for."""

    smallest: _Shape
    tuned: _Shape
    largest: _Shape


@dataclass(frozen=True)
class Interface:
    """An engine's tensors: name -> type, one of `INT64`, `FLOAT32` and `FLOAT`.

    :param outputs: None: any, as for a whole model.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str] | None


_HIDDEN = {tensors.HIDDEN_STATES: FLOAT, tensors.MASK: FLOAT}
_TOKENS = dict.fromkeys(tensors.TOKENS, INT64)
_STAGE = Interface(_HIDDEN, {tensors.NEXT_HIDDEN_STATES: FLOAT, tensors.LOGITS: FLOAT32, tensors.UNCERTAINTY: FLOAT32})
_OTHERS = {
    "embeddings": Interface(_TOKENS, _HIDDEN),
    "compaction": Interface(
        {**_HIDDEN, tensors.ROWS: INT64}, {tensors.KEPT_HIDDEN_STATES: FLOAT, tensors.KEPT_MASK: FLOAT}
    ),
    "whole": Interface(_TOKENS, None),
    "row": Interface(
        dict(zip(tensors.ROW_INPUTS, (INT64, INT64, FLOAT32), strict=True)),
        dict(zip(tensors.ROW_OUTPUTS, (FLOAT32, INT64, FLOAT32), strict=True)),
    ),
}


def interface_of(graph: str) -> Interface:
    """Return the interface of ``"embeddings"``, ``"compaction"``, ``"row"``, ``"whole"``, or a stage."""
    return _OTHERS.get(graph, _STAGE)


def input_shapes(graph: str, bucket: Bucket, *, hidden_size: int, max_batch: int) -> dict[str, Limits]:
    """Return the shapes of an engine's inputs in one bucket.

    :param graph: as in `interface_of`.
    :param max_batch: of all buckets.
    """
    sequence, tops = bucket.sequence, (bucket.min_batch, bucket.max_batch, bucket.max_batch)
    if graph == "row":  # at its exact length, as it has no mask
        lengths = Limits((1, 1), (1, sequence), (1, sequence))
        return {**dict.fromkeys(tensors.ROW_INPUTS[:2], lengths), tensors.ROW_INPUTS[2]: Limits((1,), (1,), (1,))}
    if graph in ("embeddings", "whole"):
        ids = Limits(*((batch, sequence) for batch in tops))
        return dict.fromkeys(tensors.TOKENS, ids)
    if graph == "compaction":  # from any batch to a batch of this bucket
        tops = (1, bucket.max_batch, max_batch)
    shapes = {
        tensors.HIDDEN_STATES: Limits(*((batch, sequence, hidden_size) for batch in tops)),
        tensors.MASK: Limits(*((batch, 1, 1, sequence) for batch in tops)),
    }
    if graph == "compaction":
        shapes[tensors.ROWS] = Limits((bucket.min_batch,), (bucket.max_batch,), (bucket.max_batch,))
    return shapes
