"""``tensorrt`` or ``tensorrt_rtx`` without a GPU: plans hold the ONNX graph, and contexts run it with ONNX Runtime.

Every class is held to the real class of its name (`doubles.contract`); enums are the real ones. What TensorRT for RTX
has alone is in `doubles.tensorrt_rtx`.
"""

import importlib.machinery
import json
import pickle
import types

import numpy as np
import onnx
import onnxruntime

from support.doubles.contract import Recorder, held_to
from support.doubles.tensorrt_rtx import add_rtx, make_rtx_classes

_TYPES = {
    onnx.TensorProto.FLOAT: lambda kinds: kinds.FLOAT,
    onnx.TensorProto.FLOAT16: lambda kinds: kinds.HALF,
    onnx.TensorProto.INT64: lambda kinds: kinds.INT64,
}
_SCALARS = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}


class FakeTensorRT(types.ModuleType):
    """The module.

    :param recorder: of calls.
    :param fail: names of graphs whose build fails.
    :param precision: what the inspector says of every float tensor; None: the truth.
    """

    def __init__(self, real, cuda, *, name="tensorrt", version=None):
        super().__init__(name)
        self.real, self.cuda, self.recorder = real, cuda, Recorder()
        self.rtx = name == "tensorrt_rtx"
        self.magic = b"vtrt" if self.rtx else b"ptrt"
        self.fail: set[str] = set()
        self.precision: str | None = None
        self.__version__ = version or real.__version__
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)  # it counts as installed
        for simulated in _classes(self):
            setattr(self, simulated.__name__, simulated)

    def __getattr__(self, name):
        return getattr(self.real, name)  # AttributeError: the library has no such thing


def _classes(module):
    real, hold = module.real, held_to(module.real, module.recorder)
    severity = real.ILogger.Severity

    def held(simulated):
        return hold(add_rtx(module, simulated) if module.rtx else simulated)

    class IHostMemory(bytes):
        nbytes = property(len)

    @held
    class ITimingCache:
        def serialize(self):
            return IHostMemory(json.dumps(sorted(self._known)).encode())

    def timing_cache(known):
        cache = ITimingCache()
        cache._known = known
        return cache

    @held
    class ITensor:
        name = property(lambda self: self._value.name)
        dtype = property(lambda self: _TYPES[self._value.type.tensor_type.elem_type](real.DataType))
        shape = property(lambda self: [d.dim_value or -1 for d in self._value.type.tensor_type.shape.dim])

    def tensor(value):
        made = ITensor()
        made._value = value
        return made

    @held
    class INetworkDefinition:
        name = property(lambda self: self._model.graph.name)
        num_inputs = property(lambda self: len(self._model.graph.input))
        num_outputs = property(lambda self: len(self._model.graph.output))

        def get_input(self, index):
            return tensor(self._model.graph.input[index])

        def get_output(self, index):
            return tensor(self._model.graph.output[index])

    @held
    class IOptimizationProfile:
        def get_shape(self, input):
            return list(self._shapes[input])

        def set_shape(self, input, min, opt, max):
            assert all(low <= best <= high for low, best, high in zip(min, opt, max, strict=True))
            self._shapes = {**getattr(self, "_shapes", {}), input: (min, opt, max)}

    @held
    class IBuilderConfig:
        def add_optimization_profile(self, profile):
            self._profiles = [*getattr(self, "_profiles", []), profile._shapes]
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache):
            return timing_cache(set(json.loads(bytes(serialized_timing_cache) or b"[]")))

        def set_timing_cache(self, cache, ignore_mismatch):
            self._cache = cache
            return True

        def get_timing_cache(self):
            return self._cache

        def set_memory_pool_limit(self, pool, pool_size):
            pass

        def set_flag(self, flag):
            pass

        def clear_flag(self, flag):
            pass

    @held
    class ParserError:
        def desc(self):
            return "the double was told to fail"

        def node_name(self):
            return "a node"

        def node_operator(self):
            return "MatMul"

    @held
    class OnnxParser:
        def __init__(self, network, logger):
            self._network = network

        def parse(self, model, path=None):
            self._network._model = onnx.load_from_string(bytes(model))
            return self._network._model.graph.name not in module.fail

        num_errors = property(lambda self: 1)

        def get_error(self, index):
            return ParserError()

    @held
    class Builder:
        def __init__(self, logger):
            self._logger = logger

        def create_network(self, flags=0):
            return INetworkDefinition()

        def create_builder_config(self):
            return IBuilderConfig()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            model = network._model
            inputs = {value.name for value in model.graph.input}
            if not all(set(shapes) == inputs for shapes in config._profiles):
                self._logger.log(severity.ERROR, "a dynamic input has no shape in a profile")
                return None
            if f"build {model.graph.name}" in module.fail:
                self._logger.log(severity.ERROR, "Could not find any implementation for node")
                return None
            structure = " ".join(node.op_type for node in model.graph.node)
            if hasattr(config, "_cache"):
                config._cache._known.add(structure)
            return IHostMemory(module.magic + pickle.dumps((model.SerializeToString(), config._profiles)))

    @held
    class IExecutionContext:
        def set_device_memory(self, memory, size):
            assert size >= self._engine.device_memory_size_v2
            module.cuda.view(memory, size)
            self._memory = memory

        def set_optimization_profile_async(self, profile_index, stream_handle):
            self._profile = self._engine._profiles[profile_index]
            self._shapes, self._addresses = {}, {}
            return True

        def set_input_shape(self, name, shape):
            low, _, high = self._profile[name]
            if not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
                return False
            self._shapes[name] = tuple(shape)
            return True

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory
            return name in self._engine._types

        def execute_async_v3(self, stream_handle):
            engine, shapes, addresses = self._engine, dict(self._shapes), dict(self._addresses)
            assert self._memory and set(addresses) == set(engine._types)
            if module.rtx:
                self._compile(stream_handle, shapes)

            def run():
                feeds = {}
                for name, shape in shapes.items():
                    dtype = engine._types[name]
                    memory = module.cuda.view(addresses[name], int(np.prod(shape)) * np.dtype(dtype).itemsize)
                    feeds[name] = memory.view(dtype).reshape(shape)
                outputs = [value.name for value in engine._session.get_outputs()]
                for name, array in zip(outputs, engine._session.run(outputs, feeds), strict=True):
                    module.cuda.view(addresses[name], array.nbytes).view(array.dtype)[:] = array.ravel()

            module.cuda.enqueue(stream_handle, run)
            return True

    @held
    class EngineInspector:
        def get_engine_information(self, format):
            assert format == real.LayerInformationFormat.JSON
            return json.dumps({"Layers": self._engine._layers(getattr(self, "execution_context", None))})

    @held
    class ICudaEngine:
        device_memory_size_v2 = property(lambda self: 1000 * len(self._profiles))
        num_optimization_profiles = property(lambda self: len(self._profiles))

        def get_tensor_shape(self, name):
            values = (*self._session.get_inputs(), *self._session.get_outputs())
            shape = next(value.shape for value in values if value.name == name)
            return tuple(size if isinstance(size, int) else -1 for size in shape)

        def get_tensor_dtype(self, name):
            kinds = {np.float16: real.DataType.HALF, np.float32: real.DataType.FLOAT, np.int64: real.DataType.INT64}
            return kinds[self._types[name]]

        num_io_tensors = property(lambda self: len(self._types))

        def get_tensor_name(self, index):
            return list(self._types)[index]

        def get_tensor_mode(self, name):
            outputs = {value.name for value in self._session.get_outputs()}
            return real.TensorIOMode.OUTPUT if name in outputs else real.TensorIOMode.INPUT

        def get_tensor_profile_shape(self, name, profile_index):
            return list(self._profiles[profile_index][name])

        def create_execution_context(self, strategy=None, runtime_config=None):
            if runtime_config is not None:
                strategy = runtime_config._strategy
            assert strategy == real.ExecutionContextAllocationStrategy.USER_MANAGED
            context = IExecutionContext()
            context._engine, context._config = self, runtime_config
            return context

        def create_engine_inspector(self):
            inspector = EngineInspector()
            inspector._engine = self
            return inspector

        def _layers(self, context):
            graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(self._model)).graph
            kinds = {1: "Float", 10: "Half", 7: "Int64", 3: "Int8", 9: "Bool"}
            types_ = {
                v.name: kinds[v.type.tensor_type.elem_type] for v in (*graph.value_info, *graph.input, *graph.output)
            }
            types_ |= {v.name: kinds[v.data_type] for v in graph.initializer}

            def tensor(name):
                kind = types_.get(name, "Int64")
                if module.precision and kind in ("Half", "Int8"):
                    kind = module.precision
                known = context is not None and context._shapes
                return {"Name": name, "Format/Datatype": kind if known else "N/A due to dynamic shapes"}

            return [
                {
                    "Name": node.name,
                    "Inputs": [tensor(n) for n in node.input],
                    "Outputs": [tensor(n) for n in node.output],
                }
                for node in graph.node
            ]

    @held
    class Runtime:
        def __init__(self, logger):
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            try:
                assert serialized_engine.startswith(module.magic)
                model, profiles = pickle.loads(serialized_engine[len(module.magic) :])
            except Exception:
                self._logger.log(severity.ERROR, "the plan's magic tag does not match")
                return None
            engine = ICudaEngine()
            engine._model, engine._profiles = model, profiles
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            engine._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            values = (*engine._session.get_inputs(), *engine._session.get_outputs())
            engine._types = {value.name: _SCALARS[value.type] for value in values}
            return engine

    rtx_classes = [held(simulated) for simulated in make_rtx_classes(module)] if module.rtx else []
    return [
        *rtx_classes,
        Builder,
        EngineInspector,
        IBuilderConfig,
        ICudaEngine,
        IExecutionContext,
        IHostMemory,
        INetworkDefinition,
        IOptimizationProfile,
        ITensor,
        ITimingCache,
        OnnxParser,
        ParserError,
        Runtime,
    ]
