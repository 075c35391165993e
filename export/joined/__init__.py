"""Models that join the stage files and read their weights."""
