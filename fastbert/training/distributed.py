"""Whether the environment says that this process trains alone or is one of several.

``torchrun`` and ``accelerate launch`` set the variables of `_NEEDED` in each process that they start; MPI sets its own.
accelerate follows any of them. With only some of them set, a run would wait for processes that were never started, end
in a library's error, or print nothing because it does not count as the first process. Such an environment is refused.
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

from fastbert.runtime.errors import UsageError

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Variables that accelerate reads where the former are not set.
_OF_MPI = {
    "RANK": ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    "LOCAL_RANK": ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    "LOCAL_WORLD_SIZE": ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
}


def require_whole_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Check the variables that make this process one of several. Call it before accelerate reads them.

    A process whose ``WORLD_SIZE`` is 1 or not set and whose ``RANK`` is 0 or not set trains alone: if other variables
    are missing, those that accelerate would follow are removed from the environment.

    :raises UsageError: the process is one of several, but a variable is missing or contradicts another.
    """
    contradictions = list(_contradictions(environment))
    gaps = [] if contradictions else [*_missing(environment), *_wrong_values(environment)]
    alone = not contradictions and _number(environment, "WORLD_SIZE", 1) == 1
    if contradictions or (gaps and not alone):
        names = [name for needed in (*_NEEDED, "LOCAL_WORLD_SIZE") for name in _names(needed) if name in environment]
        given = ", ".join(f"{name}={environment[name][:40]!r}" for name in names)
        raise UsageError(
            f"The environment says that this process is one of several ({given}), but "
            f"{'; '.join(contradictions or gaps)}. "
            "Start several processes with: accelerate launch -m fastbert.cli train ... "
            f"For a single one: unset {' '.join(names)}"
        )
    if gaps:
        for name in ("LOCAL_RANK", *_names("WORLD_SIZE")):
            environment.pop(name, None)


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process prints the report. Valid after `require_whole_environment`."""
    return int(environment.get("RANK", "0")) == 0


def _contradictions(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what is impossible for a single process and for one of several."""
    numbers = [name for needed in ("RANK", "WORLD_SIZE", "LOCAL_RANK") for name in _names(needed)]
    wrong = [name for name in numbers if name in environment and not _is_whole_number(environment[name])]
    if wrong:
        yield f"{_listed(wrong)} {'is not a whole number' if len(wrong) == 1 else 'are not whole numbers'}"
        return
    size, rank = _number(environment, "WORLD_SIZE", 1), _number(environment, "RANK", 0)
    local_rank = _number(environment, "LOCAL_RANK", -1)
    if size < 1:
        yield "WORLD_SIZE must be at least 1"
    elif 0 <= rank < size and -1 <= local_rank < size:
        return
    elif _is_set(environment, "WORLD_SIZE"):
        yield f"{'LOCAL_RANK' if 0 <= rank < size else 'RANK'} must be from 0 to {size - 1}"
    else:
        yield from _missing(environment)


def _missing(environment: Mapping[str, str]) -> Iterator[str]:
    missing = [name for name in _NEEDED if not _is_set(environment, name)]
    if missing:
        yield f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} not set"


def _wrong_values(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield values that are impossible for one of several processes."""
    size, local_rank = _number(environment, "WORLD_SIZE", 1), _number(environment, "LOCAL_RANK", 0)
    if local_rank < 0:
        yield f"LOCAL_RANK must be from 0 to {size - 1}"
    if not environment.get("MASTER_ADDR", "here").strip():
        yield "MASTER_ADDR is empty"
    ports, local_sizes = range(1, 2**16), range(max(local_rank, 0) + 1, size + 1)
    for name, allowed in (("MASTER_PORT", ports), *((name, local_sizes) for name in _names("LOCAL_WORLD_SIZE"))):
        if name in environment and not (_is_whole_number(environment[name]) and int(environment[name]) in allowed):
            yield f"{name} must be from {allowed[0]} to {allowed[-1]}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _names(needed: str) -> tuple[str, ...]:
    return (needed, *_OF_MPI.get(needed, ()))


def _is_set(environment: Mapping[str, str], needed: str) -> bool:
    return any(name in environment for name in _names(needed))


def _number(environment: Mapping[str, str], needed: str, default: int) -> int:
    return int(next((environment[name] for name in _names(needed) if name in environment), default))


def _is_whole_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
