"""Float32 graphs that every engine can run: operators of standard ONNX only.

A stage of `Graph` itself has ONNX Runtime's ``FusedMatMul`` in its exit head, which is faster on a CPU. The exit
head in its form for GPUs does without, and computes the same function.
"""

from fastbert.export.graphs.writer import Graph


class PortableGraph(Graph):
    """A float32 graph without operators of ONNX Runtime's own."""

    for_gpu = True
    # The smallest normal float32: OpenVINO's CPU plugin takes 0.5 where beta is 0 (2026.4; not reported upstream).
    # `Clip` instead would make 0 of NaN there, with which a text exits.
    hard_sigmoid_beta = 2.0**-126
