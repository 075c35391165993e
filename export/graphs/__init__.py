"""A checkpoint's layers as ONNX graphs."""
