"""The precisions that a bundle may hold. An entry of `PRECISIONS` says how a variant is described and made."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.portable import PortableGraph
from fastbert.export.graphs.stages import StagePlan, compaction_graph, embeddings_graph, stage_graph
from fastbert.export.graphs.writer import Graph
from fastbert.export.int8.cpu import int8_graphs
from fastbert.export.int8.qdq import qdq_graphs
from fastbert.export.int8.rounding import REDUCED
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import UsageError

# (model, stages, golden rows) -> the embeddings, then every stage in order
_Graphs = Callable[[FastBertForSequenceClassification, Sequence[StagePlan], Golden], Iterator[ModelProto]]


@dataclass(frozen=True)
class Precision:
    """One entry of `PRECISIONS`.

    :param dtype: of weights, for the manifest.
    :param devices: devices that run its engines as they are; none: they are only built from.
    :param engine: kind of its files, for the manifest: ``"onnxruntime"`` or ``"onnxruntime_cuda"``.
    :param exact: whether its answers must be PyTorch's float32 answers; if not, the share of labels that flip is
        bounded (`fastbert.export.Bounds`).
    :param graphs: makes its engines.
    :param compaction: makes the graph that removes samples on the device; None: the host removes them.
    :param saturates: whether its int8 products may overflow on x86 without VNNI, unless the runtime prevents it.
    """

    dtype: str
    devices: tuple[str, ...]
    engine: str
    exact: bool
    graphs: _Graphs
    compaction: Callable[[FastBertForSequenceClassification], ModelProto] | None = None
    saturates: bool = False


def _float_graphs(
    graph_type: type[Graph], model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden
) -> Iterator[ModelProto]:
    yield embeddings_graph(model, graph_type)
    for stage in plan:
        yield stage_graph(model, stage, graph_type)


def _for_gpu(dtype: str, graph_type: type[Graph], *, exact: bool) -> Precision:
    """Return a precision whose graphs ONNX Runtime runs on a GPU, and `fastbert build` builds from."""
    graphs, compaction = partial(_float_graphs, graph_type), partial(compaction_graph, graph_type=graph_type)
    return Precision(dtype, ("cuda",), "onnxruntime_cuda", exact, graphs, compaction)


# name of the variant, and of its folder in the bundle -> precision
PRECISIONS = {
    "fp32": Precision("float32", ("cpu",), "onnxruntime", True, partial(_float_graphs, Graph)),
    "int8": Precision("int8", ("cpu",), "onnxruntime", False, int8_graphs, saturates=True),
    "int8-reduced": Precision("int8", ("cpu",), "onnxruntime", False, partial(int8_graphs, largest=REDUCED)),
    "fp16": _for_gpu("float16", Float16Graph, exact=False),
    "fp32-portable": _for_gpu("float32", PortableGraph, exact=True),
    # for `fastbert build` only: ONNX Runtime on a GPU would compute in float16 and round in addition
    "int8-qdq": Precision(
        "int8", (), "onnxruntime_cuda", False, qdq_graphs, partial(compaction_graph, graph_type=Float16Graph)
    ),
}


def check_precisions(names: Sequence[str]) -> None:
    """Check names of precisions.

    :raises UsageError: one is unknown or repeated, or there is none.
    """
    known = ", ".join(PRECISIONS)
    if isinstance(names, str) or not names:
        raise UsageError(f"`precisions` is {names!r}; it must list at least one of {known}.")
    for name in names:
        if name not in PRECISIONS:
            raise UsageError(f"`precisions` names {name!r}, which is unknown; known are {known}.")
    if len(set(names)) < len(names):
        raise UsageError(f"`precisions` names a precision twice: {', '.join(names)}.")
