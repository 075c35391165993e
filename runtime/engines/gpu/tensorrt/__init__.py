"""TensorRT and TensorRT for RTX: engines of both, loaded and run by the same code."""
