"""What is compared of a parsed network and its profiles, with the real library's types."""

from types import SimpleNamespace

import pytest
from support.doubles.real_tensorrt import real_tensorrt_rtx

from fastbert.export.tensorrt.inspection import network_problems, profile_problems
from fastbert.export.tensorrt.interface import Limits

INPUTS = {"hidden_states": ("HALF", (-1, -1, 32)), "extended_attention_mask": ("HALF", (-1, 1, 1, -1))}
OUTPUTS = {
    "next_hidden_states": ("HALF", (-1, -1, 32)),
    "logits": ("FLOAT", (-1, 3)),
    "uncertainty": ("FLOAT", (-1,)),
}


def network(trt, inputs, outputs):
    def tensors(values):
        return [
            SimpleNamespace(name=name, dtype=getattr(trt.DataType, kind), shape=shape)
            for name, (kind, shape) in values.items()
        ]

    held = {"input": tensors(inputs), "output": tensors(outputs)}
    return SimpleNamespace(
        num_inputs=len(inputs),
        num_outputs=len(outputs),
        get_input=held["input"].__getitem__,
        get_output=held["output"].__getitem__,
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ({}, {}, []),
        ({"rows": ("INT64", (-1,))}, {}, ["its inputs are extended_attention_mask, hidden_states, rows, not "]),
        ({}, {"more": ("FLOAT", ())}, ["its outputs are logits, more, "]),
        ({}, {"logits": ("HALF", (-1, 3))}, ["logits is of type HALF, not FLOAT"]),
        (
            {"hidden_states": ("INT64", (-1, -1, 32))},
            {},
            ["hidden_states is of type INT64, not HALF", "its hidden"],
        ),
        ({}, {"next_hidden_states": ("FLOAT", (-1, -1, 32))}, ["its hidden states and masks are of different types"]),
        (
            {"hidden_states": ("HALF", (-1, -1, 8))},
            {},
            ["hidden_states has the shape [-1, -1, 8], which must"],
        ),
    ],
    ids=["fits", "inputs", "outputs", "type", "ids for floats", "mixed types", "width"],
)
def test_a_stage_must_have_the_chains_interface(inputs, outputs, expected):
    trt = real_tensorrt_rtx()
    found = network_problems(
        trt, network(trt, {**INPUTS, **inputs}, {**OUTPUTS, **outputs}), "stage_00", hidden_size=32
    )
    assert len(found) == len(expected)
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start)


def test_a_stage_in_float32_fits_too():
    trt = real_tensorrt_rtx()
    kinds = [{name: ("FLOAT", shape) for name, (_, shape) in values.items()} for values in (INPUTS, OUTPUTS)]
    assert network_problems(trt, network(trt, *kinds), "stage_00", hidden_size=32) == []


def test_a_profile_must_have_the_shapes_that_it_was_given():
    wanted = {"rows": Limits((1,), (4,), (4,))}
    assert profile_problems(SimpleNamespace(get_shape=lambda name: [(1,), (4,), (4,)]), wanted) == []
    [problem] = profile_problems(SimpleNamespace(get_shape=lambda name: [(1,), (4,), (8,)]), wanted)
    assert "rows, not [(1,), (4,), (4,)]" in problem
