"""Engines of TensorRT: built, inspected, added to a bundle."""
