"""TensorRT for RTX's own parser and builder, which need no GPU."""

from functools import cache

import pytest


@cache
def _logger(trt):
    class Logger(trt.ILogger):  # TensorRT keeps the first one for the whole process
        def __init__(self):
            trt.ILogger.__init__(self)
            self.errors = []

        def log(self, severity, msg):
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg)

    return Logger()


def parse(model):
    """Return the builder, the network and what the parser says; skip the test without the library."""
    trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX")
    builder = trt.Builder(_logger(trt))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, _logger(trt))
    parser.parse(model.SerializeToString())
    return builder, network, [parser.get_error(place).desc() for place in range(parser.num_errors)]


def build(model, longest=16):
    """Parse and build a model whose dynamic sizes are 1 to ``longest``; return the network and its plan."""
    builder, network, errors = parse(model)
    assert not errors, errors
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for place in range(network.num_inputs):
        value = network.get_input(place)
        if -1 in value.shape:
            shapes = [tuple(top if size == -1 else size for size in value.shape) for top in (1, longest)]
            profile.set_shape(value.name, shapes[0], shapes[1], shapes[1])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, builder.logger.errors
    return network, plan
