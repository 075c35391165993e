"""The machine that measures: its processor, GPU, load and memory."""
