"""The machine that a bench runs on: its processor, GPU, load and memory."""
