"""Compute capabilities of GPUs, such as ``"8.9"``, and sets of them, in which ``">12.0"`` stands for all later ones."""

import re
from collections.abc import Iterable, Sequence
from typing import Any


def covers(capabilities: Iterable[str], found: str) -> bool:
    """Return whether a set has a compute capability."""
    return any(_number(found) > _number(each[1:]) if each.startswith(">") else each == found for each in capabilities)


def known_to(trt: Any) -> tuple[str, ...]:
    """Return those that TensorRT for RTX can be told to build for, in ascending order."""
    members = (re.fullmatch(r"SM(\d+)(\d)", name) for name in trt.ComputeCapability.__members__)
    return tuple(sorted((f"{found[1]}.{found[2]}" for found in members if found), key=_number))


def set_targets(trt: Any, config: Any, capabilities: Sequence[str]) -> bool:
    """Tell a builder's config what to build for, of `known_to`; return whether it takes them."""
    config.num_compute_capabilities = len(capabilities)
    members = [getattr(trt.ComputeCapability, f"SM{each.replace('.', '')}") for each in capabilities]
    return all([config.set_compute_capability(member, index) for index, member in enumerate(members)])


def _number(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
