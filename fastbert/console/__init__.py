"""What the command line shows: streams that take any text, tables, progress, and errors as one paragraph."""
