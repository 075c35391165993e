import os
import pickle

import pytest
import torch

from fastbert.importing.tensors import check_shapes, first_ten, layers_of, looks_untrained, read_tensors, require
from fastbert.runtime.errors import CheckpointError


class _Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class _Local:
    pass


def test_floats_become_float32_and_the_prefix_of_data_parallel_is_dropped(tmp_path):
    torch.save({"module.a": torch.ones(2).half(), "b": torch.ones(1, dtype=torch.int64)}, tmp_path / "file")
    tensors = read_tensors(tmp_path / "file")
    assert tensors["a"].dtype == torch.float32 and tensors["b"].dtype == torch.int64


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(zipped, tmp_path):
    path, proof = tmp_path / "evil.bin", tmp_path / "proof"
    content = {"a": torch.ones(2), "b": _Malicious(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"evil\.bin is refused: .* posix\.system"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(_Malicious(proof)))
    with pytest.raises(CheckpointError, match="refused"):
        read_tensors(path)
    assert not proof.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(share, zipped, tmp_path):
    path = tmp_path / "half.bin"
    torch.save({"a": torch.randn(5000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"half\.bin"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list"),
        ({}, "is empty"),
        ({"epoch": 3}, "'epoch' holds a int"),
        ({"model": {"a": torch.ones(1)}}, "'model' holds a dict"),
        ({"a": _Local()}, "asks to load"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "file")
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / "file")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / "nowhere")


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("hello\n" * 100)
    with pytest.raises(CheckpointError, match="file is"):
        read_tensors(tmp_path / "file")


def test_missing_and_misshapen_tensors_are_listed_up_to_ten(tmp_path):
    tensors = {"a": torch.ones(2), "n": torch.ones(2, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match=r"lacks 12 of the 13 tensors .*: x0, .*, x9 and 2 more"):
        require(tmp_path, tensors, ["a", *(f"x{number}" for number in range(12))])
    with pytest.raises(CheckpointError, match=r"n holds torch\.int64"):
        require(tmp_path, tensors, ["a", "n"])
    with pytest.raises(CheckpointError, match="b holds NaN or infinity"):
        require(tmp_path, {**tensors, "b": torch.tensor([1.0, float("nan")])}, ["a", "b"])
    with pytest.raises(CheckpointError, match=r"1 of 2 tensors .* that c\.json asks for: a has \[2\] instead of \[3\]"):
        check_shapes(tmp_path, tensors, {"a": (3,), "n": (2,)}, "c.json")
    check_shapes(tmp_path, tensors, {"a": (2,)}, "c.json")
    assert first_ten(["a", "b"]) == "a, b"


def test_layers_are_counted_by_the_highest_number():
    assert layers_of({"layers.0.a": 0, "layers.11.b": 0, "other.20.c": 0, "layers.x.d": 0}, "layers.") == 12
    assert layers_of({}, "layers.") == 0


@pytest.mark.parametrize("sizes", [(128, 128), (64, 32), (32, 2)])
def test_initial_weights_are_told_from_trained_and_other_weights(sizes):
    torch.manual_seed(0)
    layer = torch.nn.Linear(*sizes)

    def tensors():
        return {f"x.{name}": value.detach() for name, value in layer.state_dict().items()}

    assert looks_untrained(tensors(), ["x"])
    if sizes[1] == 2:  # too few weights: none need be near the bound
        return
    inputs, targets = torch.randn(64, sizes[0]), torch.randn(64, sizes[1])
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(inputs) - targets).pow(2).mean().backward()
        optimizer.step()
    assert not looks_untrained(tensors(), ["x"])
    torch.nn.init.normal_(layer.weight, std=0.02)
    torch.nn.init.zeros_(layer.bias)
    assert not looks_untrained(tensors(), ["x"])
