"""The precisions that a bundle may hold: a row of `PRECISIONS` is a variant, its graphs and how it is judged."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.stages import StagePlan, compaction_graph, embeddings_graph, stage_graph
from fastbert.export.graphs.writer import Graph
from fastbert.export.int8.cpu import int8_graphs
from fastbert.export.int8.qdq import qdq_graphs
from fastbert.export.int8.rounding import REDUCED
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import UsageError

__all__ = ["PRECISIONS", "Precision", "parse_precisions"]

# (model, stages, golden rows) -> embeddings, then every stage, in order
Graphs = Callable[[FastBertForSequenceClassification, Sequence[StagePlan], Golden], Iterator[ModelProto]]


@dataclass(frozen=True)
class Precision:
    """One row.

    :param dtype: of weights, for the manifest.
    :param devices: what its engines are for.
    :param engine: the file of ``fastbert.runtime.engines`` that runs it.
    :param exact: whether its answers must be PyTorch's float32 answers; if not, the share of labels that flip is
        bounded (`fastbert.export.verification.compare`).
    :param graphs: writes its engines.
    :param compaction: writes the graph that drops samples on the device; None: they are dropped on the host.
    :param saturates: whether its int8 products may, on a processor without VNNI, unless the runtime prevents it.
    """

    dtype: str
    devices: tuple[str, ...]
    engine: str
    exact: bool
    graphs: Graphs
    compaction: Callable[[FastBertForSequenceClassification], ModelProto] | None = None
    saturates: bool = False


def _in_floats(
    graph_type: type[Graph], model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden
) -> Iterator[ModelProto]:
    yield embeddings_graph(model, graph_type)
    for stage in plan:
        yield stage_graph(model, stage, graph_type)


def _compaction(model: FastBertForSequenceClassification) -> ModelProto:
    return compaction_graph(model, Float16Graph)


# name of the variant, and of its folder in the bundle -> row
PRECISIONS = {
    "fp32": Precision("float32", ("cpu",), "onnxruntime", True, partial(_in_floats, Graph)),
    "int8": Precision("int8", ("cpu",), "onnxruntime", False, int8_graphs, saturates=True),
    "int8-reduced": Precision("int8", ("cpu",), "onnxruntime", False, partial(int8_graphs, largest=REDUCED)),
    "fp16": Precision("float16", ("cuda",), "onnxruntime_cuda", False, partial(_in_floats, Float16Graph), _compaction),
    # for `fastbert build` only: ONNX Runtime on a GPU would compute it in float16, and lose time on the rounding
    "int8-qdq": Precision("int8", (), "onnxruntime_cuda", False, qdq_graphs, _compaction),
}


def parse_precisions(text: str) -> list[str]:
    """Read a comma-separated list of precisions, such as ``fp32,int8``.

    :raises UsageError: one is unknown or named twice.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise UsageError(f"The precision {name!r} is unknown; known are {', '.join(PRECISIONS)}.")
    if len(set(names)) < len(names):
        raise UsageError(f"--precision {text} names a precision twice.")
    return names
