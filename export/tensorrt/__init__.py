"""TensorRT engines: built, inspected and added to a bundle."""
