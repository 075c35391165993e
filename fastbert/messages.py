"""Parts of error messages."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, and the second where the first ends in a colon."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
