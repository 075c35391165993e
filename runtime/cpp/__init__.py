"""The C library ``libfastbert``: where its files are, for programs that are built against it."""
