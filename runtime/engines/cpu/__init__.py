"""ONNX Runtime on the CPU."""

from fastbert.runtime.engines.cpu.engine import OnnxRuntimeEngine, load

__all__ = ["OnnxRuntimeEngine", "load"]
