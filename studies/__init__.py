"""The project's own claims, measured. Not installed: run them from a checkout as ``python -m studies.NAME``."""
