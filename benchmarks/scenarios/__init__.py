"""What is timed: one row at a time, all rows at once, rows as they arrive."""
