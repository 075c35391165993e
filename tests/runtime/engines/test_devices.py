"""Which options a device has: what it lacks is refused, by one rule for all."""

import importlib
import inspect
import itertools
import json

import pytest

from fastbert.runtime import Classifier, UsageError
from fastbert.runtime.engines import DEVICES, load_engine, options_given

GIVEN = {"threads": 2, "thread_pool": "separate", "batches": True, "cuda_graphs": True, "runtime_cache": "kept"}
DEFAULTS = {"threads": None, "thread_pool": None, "batches": False, "cuda_graphs": False, "runtime_cache": None}
TABLE = list(itertools.product(DEVICES, GIVEN))


@pytest.mark.parametrize(("device", "option"), TABLE)
def test_an_option_is_taken_or_refused_by_name(device, option):
    options = {**DEFAULTS, option: GIVEN[option]}
    if option in DEVICES[device].options:
        assert options_given(device, options) == {option: GIVEN[option]}
    else:
        with pytest.raises(UsageError, match=f"'{device}' does not have the option `{option}`. Omit it, or use '"):
            options_given(device, options)


@pytest.mark.parametrize(
    ("device", "option"), [(device, option) for device, option in TABLE if option not in DEVICES[device].options]
)
def test_load_refuses_what_the_device_lacks_before_it_reads_a_file(built, tensorrt, monkeypatch, device, option):
    document = json.loads((built / "manifest.json").read_text())  # plans of TensorRT will do, as none is read
    name, record = next(item for item in document["variants"].items() if item[1]["engine"] == "tensorrt")
    details = {**record["tensorrt"], "compute_capabilities": ["9.0"]}
    other = {**record, "engine": "tensorrt-rtx", "devices": ["tensorrt-rtx"], "tensorrt": details}
    document["variants"][f"{name}-rtx"] = other
    (built / "manifest.json").write_text(json.dumps(document))
    monkeypatch.setattr("fastbert.runtime.classifier.check_files", lambda *_, **__: pytest.fail("files were read"))
    with pytest.raises(UsageError, match=f"'{device}' does not have the option `{option}`"):
        Classifier.load(built, device=device, **{option: GIVEN[option]})
    assert tensorrt.recorder.calls == []


@pytest.mark.parametrize("device", DEVICES)
def test_an_option_that_is_on_by_default_can_be_turned_off(device):
    options = {**DEFAULTS, "runtime_cache": False}
    if "runtime_cache" in DEVICES[device].options:
        assert options_given(device, options) == {"runtime_cache": False}
    else:
        with pytest.raises(UsageError, match="does not have the option `runtime_cache`"):
            options_given(device, options)


@pytest.mark.parametrize("device", DEVICES)
def test_defaults_are_options_of_every_device(device):
    assert options_given(device, DEFAULTS) == {}


@pytest.mark.parametrize("device", DEVICES)
def test_the_table_has_the_parameters_of_the_engine(device):
    load = importlib.import_module(DEVICES[device].module).load
    named = [name for name, value in inspect.signature(load).parameters.items() if value.kind is value.KEYWORD_ONLY]
    assert set(named) - {"provider"} == set(DEVICES[device].options)
    assert set(named) - {"provider"} <= inspect.signature(Classifier.load).parameters.keys()


def test_an_unknown_device_is_named(bundle, classifier):
    variant = classifier.manifest.variants[0]
    with pytest.raises(UsageError, match="`device` is 'tpu'; it must be one of cpu, cuda, tensorrt, tensorrt-rtx"):
        load_engine("tpu", bundle, variant)
