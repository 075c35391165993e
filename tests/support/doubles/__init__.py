"""Stand-ins for TensorRT and CUDA, held to the real libraries' interfaces, that compute real answers on the CPU."""
