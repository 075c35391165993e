"""ONNX Runtime and TensorRT on an NVIDIA GPU."""
