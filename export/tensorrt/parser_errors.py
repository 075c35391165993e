"""What the parser of TensorRT says about a graph that it refuses, as one paragraph."""

from typing import Any

_NO_GPU = "catchCudaError"  # in a line about the missing driver, which follows other errors on a machine without a GPU


def parser_errors(parser: Any) -> str:
    """Return a parser's errors, each with its node and operator as far as it names them."""
    errors = [_described(parser.get_error(index)) for index in range(parser.num_errors)]
    return "; ".join(dict.fromkeys(errors)) or "it gave no reason"


def _described(error: Any) -> str:
    place = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    lines = [line.strip() for line in error.desc().splitlines() if _NO_GPU not in line]
    return ": ".join(part for part in (place, " ".join(line for line in lines if line)) if part)
