"""Reads the tensors of a checkpoint file without running code from it."""

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from fastbert.messages import first_line
from fastbert.runtime.errors import CheckpointError

Shape = tuple[int, ...]
_PARALLEL = "module."  # torch.nn.DataParallel's prefix


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file that ``torch.save(model.state_dict())`` wrote: float tensors by name, as float32.

    :raises CheckpointError: the file is missing, it is truncated, it would run code, or it holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"The checkpoint {path} does not exist.")
    try:
        with warnings.catch_warnings():  # about pickle protocols, before the error
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise CheckpointError(
                f"{path} is not a file of tensors from torch.save, or it is truncated. Other pickles are refused, "
                "since loading them could run code."
            ) from error
        raise CheckpointError(
            f"{path} is refused: it asks to load {wanted[1]}, not only tensors, and that could run any code. "
            "Save only the weights: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch, zipfile and pickle each raise their own for a damaged file
        raise CheckpointError(f"{path} is damaged or truncated ({first_line(error)}). Copy it again.") from error
    if not content:
        raise CheckpointError(f"{path} is empty: it holds no tensors.")
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name (a state_dict).")
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise CheckpointError(
                f"{path}: {name!r} holds a {type(tensor).__name__}, not a tensor. Save only the weights: "
                "torch.save(model.state_dict(), FILE)"
            )
        tensors[name.removeprefix(_PARALLEL)] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def require(path: Path, tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> None:
    """Check that these tensors exist and hold finite floats.

    :raises CheckpointError: some do not; the first ten missing ones are named.
    """
    wanted = list(names)
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} of the {len(wanted)} tensors that the model needs: {first_ten(missing)}. "
            "The file is truncated, or the config belongs to another model."
        )
    for name in wanted:
        if not tensors[name].is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {tensors[name].dtype}, not floats.")
        if not bool(tensors[name].isfinite().all()):
            raise CheckpointError(
                f"{path}: {name} holds NaN or infinity. The file is damaged, or its training diverged."
            )


def check_shapes(path: Path, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, Shape], source: str) -> None:
    """Check tensors against the shapes that a config asks for.

    :param source: the config, such as ``"bert_config.json"``, for the message.
    :raises CheckpointError: some differ; the first ten are named.
    """
    wrong = [name for name, shape in expected.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        listed = first_ten(
            [f"{name} has {list(tensors[name].shape)} instead of {list(expected[name])}" for name in wrong]
        )
        raise CheckpointError(
            f"{path}: {len(wrong)} of {len(expected)} tensors do not have the shape that {source} asks for: {listed}. "
            "Name the config that this checkpoint was trained with."
        )


def layers_of(tensors: Mapping[str, torch.Tensor], prefix: str) -> int:
    """Return the number of layers ``prefix0.``, ``prefix1.`` ...: the highest number plus 1."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    numbers = [int(match[1]) for name in tensors if (match := pattern.match(name))]
    return max(numbers, default=-1) + 1


def linear_names(ours: str, theirs: str) -> dict[str, str]:
    """Return parameter of our model -> tensor of the file, for a linear layer."""
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}


def norm_names(ours: str, theirs: str) -> dict[str, str]:
    """Return parameter of our model -> tensor of the file, for a layer norm."""
    return {f"{ours}.weight": f"{theirs}.gamma", f"{ours}.bias": f"{theirs}.beta"}


def looks_untrained(tensors: Mapping[str, torch.Tensor], linears: Iterable[str]) -> bool:
    """Whether linear layers have the initial weights of `torch.nn.Linear`.

    These are drawn uniformly from +-1/sqrt(inputs). Any training moves some of many weights across that bound.

    :param linears: names without ``.weight`` and ``.bias``.
    """
    for name in linears:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        bound = weight.shape[1] ** -0.5
        largest = float(weight.abs().max())
        # The lower limit excludes small weights: of 100 uniform draws, one is almost surely beyond 0.9 of the bound.
        if max(largest, float(bias.abs().max())) > bound * 1.0001 or (weight.numel() >= 100 and largest < 0.9 * bound):
            return False
    return True


def first_ten(names: list[str]) -> str:
    """Join at most ten names, with the number of the others."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
