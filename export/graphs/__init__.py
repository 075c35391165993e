"""A checkpoint's embeddings, layers and exit heads as ONNX graphs."""
