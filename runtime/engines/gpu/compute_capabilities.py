"""Compute capabilities of GPUs, such as ``"8.9"``, and sets of them, in which ``">12.0"`` stands for all later ones."""

import re
from collections.abc import Iterable
from typing import Any


def covers(capabilities: Iterable[str], found: str) -> bool:
    """Return whether a set has a compute capability."""
    return any(_number(found) > _number(each[1:]) if each.startswith(">") else each == found for each in capabilities)


def known_to(trt: Any) -> tuple[str, ...]:
    """Return those that TensorRT for RTX can be told to build for, in ascending order."""
    members = (re.fullmatch(r"SM(\d+)(\d)", name) for name in trt.ComputeCapability.__members__)
    return tuple(sorted((f"{found[1]}.{found[2]}" for found in members if found), key=_number))


def member_name(capability: str) -> str:
    """Return the name in the library's enum ``ComputeCapability``: ``"8.9"`` -> ``"SM89"``."""
    return f"SM{capability.replace('.', '')}"


def _number(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
