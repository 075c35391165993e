"""What TensorRT for RTX has and TensorRT has not: compute capabilities, plan headers, runtime configs and caches."""

import json

_CACHE = b"a runtime cache of "


def add_rtx(module, simulated):
    """Add the methods that a simulated class has in TensorRT for RTX alone; the contract checks them later."""
    for name, value in vars(_ADDED.get(simulated.__name__, object)).items():
        if not name.startswith("__"):
            setattr(simulated, name, value(module) if isinstance(value, _OfModule) else value)
    return simulated


class _OfModule:
    """A method that needs the module: (module) -> the method."""

    def __init__(self, make):
        self._make = make

    def __call__(self, module):
        return self._make(module)


class _IBuilderConfig:
    def set_compute_capability(self, compute_capability, index):
        assert 0 <= index < self.num_compute_capabilities
        return True

    def create_timing_cache(self, serialized_timing_cache):
        raise AssertionError("the real one warns that this does nothing")

    set_timing_cache = get_timing_cache = create_timing_cache


class _Runtime:
    engine_header_size = property(lambda self: 64)

    @_OfModule
    def get_engine_validity(module):
        kinds = module.real.EngineInvalidityDiagnostics

        def get_engine_validity(self, buffer):
            wrong = 0 if bytes(buffer).startswith(module.magic) else int(kinds.MALFORMED_ENGINE)
            return module.real.EngineValidity.INVALID, wrong  # as without a GPU

        return get_engine_validity


class _ICudaEngine:
    @_OfModule
    def create_runtime_config(module):
        def create_runtime_config(self):
            return module.IRuntimeConfig()

        return create_runtime_config


class _IExecutionContext:
    @_OfModule
    def _compile(module):
        def _compile(self, stream, shapes):
            """Compile what this shape needs, as the config says."""
            config, known = self._config, self.__dict__.setdefault("_compiled", set())
            kinds = module.real.DynamicShapesKernelSpecializationStrategy
            shape = str(sorted(shapes.items()))
            if stream in module.cuda.capturing:
                assert config.dynamic_shapes_kernel_specialization_strategy == kinds.EAGER, "a fallback is captured"
                assert shape in known, "kernels are compiled while a stream is captured"
            known.add(shape)
            if config._cache is not None:
                assert config._cache._alive
                config._cache._kernels.add(f"{self._engine._model[:8].hex()} {shape}")

        return _compile


_ADDED = {
    "IBuilderConfig": _IBuilderConfig,
    "Runtime": _Runtime,
    "ICudaEngine": _ICudaEngine,
    "IExecutionContext": _IExecutionContext,
}


def make_rtx_classes(module):
    class IRuntimeCache:
        def serialize(self):
            assert self._alive
            return _CACHE + module.cuda._name + json.dumps(sorted(self._kernels)).encode()

        def deserialize(self, blob):
            start = _CACHE + module.cuda._name
            if not bytes(blob).startswith(start):
                return False
            self._kernels |= set(json.loads(bytes(blob)[len(start) :]))
            return True

    class IRuntimeConfig:
        _cache = _strategy = None

        def create_runtime_cache(self):
            cache = module.IRuntimeCache()
            cache._kernels, cache._alive = set(), True
            return cache

        def set_runtime_cache(self, cache=None):
            self._cache = cache
            return True

        def set_execution_context_allocation_strategy(self, strategy=None):
            self._strategy = strategy

    return [IRuntimeCache, IRuntimeConfig]
