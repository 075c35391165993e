"""The report of a bench: assembled, judged, and written as JSON, page and tables."""
