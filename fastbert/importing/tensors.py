"""A checkpoint file's tensors, read without running anything that the file asks for."""

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from fastbert.messages import first_line
from fastbert.runtime.errors import CheckpointError

__all__ = ["Shape", "check_shapes", "first_ten", "layers_of", "looks_untrained", "read_tensors", "require"]

Shape = tuple[int, ...]
_PARALLEL = "module."  # torch.nn.DataParallel's prefix


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file that ``torch.save(model.state_dict())`` wrote: float tensors by name, as float32.

    :raises CheckpointError: no such file, not whole, it wants to run code, or it holds something else than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"The checkpoint {path} does not exist.")
    try:
        with warnings.catch_warnings():  # about pickle protocols, ahead of the error
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise CheckpointError(
                f"{path} is no file of tensors that torch.save wrote, or not a whole one. Any other pickle is refused, "
                "since loading it could run code."
            ) from error
        raise CheckpointError(
            f"{path} is refused: besides tensors it asks to load {wanted[1]}, and loading it could run any code. "
            "Save only the weights: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch, zipfile and pickle each have their own for a damaged file
        raise CheckpointError(f"{path} is damaged or not whole ({first_line(error)}). Copy it again.") from error
    if not content:
        raise CheckpointError(f"{path} holds nothing.")
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
    """Check that all of these tensors are there and hold floats.

    :raises CheckpointError: some are not, or one holds NaN or infinity; the first ten missing ones are named.
    """
    wanted = list(names)
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} of the {len(wanted)} tensors that the model needs: {first_ten(missing)}. "
            "The file is not whole, or its config is another model's."
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

    :param source: who asks, such as ``"bert_config.json"``; for the message.
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
    """Return how many layers are numbered ``prefix0.``, ``prefix1.`` ...: the highest number plus 1."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    numbers = [int(match[1]) for name in tensors if (match := pattern.match(name))]
    return max(numbers, default=-1) + 1


def looks_untrained(tensors: Mapping[str, torch.Tensor], linears: Iterable[str]) -> bool:
    """Whether linear layers are as `torch.nn.Linear` made them.

    It draws uniformly from +-1/sqrt(inputs). Any training moves some weight of many across that bound.

    :param linears: names without ``.weight`` and ``.bias``.
    """
    for name in linears:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        bound = weight.shape[1] ** -0.5
        largest = float(weight.abs().max())
        # the lower limit tells a uniform draw from small weights: of 100 one is beyond 0.9 (all but 3e-5 of draws)
        if max(largest, float(bias.abs().max())) > bound * 1.0001 or (weight.numel() >= 100 and largest < 0.9 * bound):
            return False
    return True


def first_ten(names: list[str]) -> str:
    """Join at most ten, and say how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
