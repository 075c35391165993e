"""``libfastbert`` from Python, through ctypes: to verify a bundle with the C library, and to test it.

Python programs use `fastbert.runtime.Classifier`. This module imports no ONNX Runtime; the library loads it.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.chain import ChainOutput
from fastbert.runtime.errors import BundleError, EngineError, FastBertError, UsageError
from fastbert.runtime.tokenization import Encoded, TextInput

ABI_VERSION = 1
DEFAULT_SPEED = -1.0
_ERRORS: dict[int, type[FastBertError]] = {1: UsageError, 2: BundleError, 3: EngineError, 4: UsageError}
_INT64, _INT32 = 0, 1


class _Sized(ctypes.Structure):
    """A struct whose first field is its size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.struct_size = ctypes.sizeof(self)


class ModelOptions(_Sized):
    """fastbert_model_options."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("variant", c_char_p),
        ("threads", c_int32),
        ("batches", c_int32),
        ("skip_checksums", c_int32),
        ("host_thread_pool", c_int32),
        ("onnxruntime_library", c_char_p),
        ("ort_api", c_void_p),
        ("ort_env", c_void_p),
    )


class ModelInfo(_Sized):
    """fastbert_model_info."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("classes", c_int32),
        ("layers", c_int32),
        ("exits", c_int32),
        ("max_length", c_int32),
        ("max_positions", c_int32),
        ("vocab_size", c_int32),
        ("type_vocab_size", c_int32),
        ("default_token_type", c_int32),
        ("pad_token_id", c_int32),
        ("has_text", c_int32),
        ("default_speed", c_double),
        ("variant", c_char_p),
        ("text_problem", c_char_p),
    )


class Batch(_Sized):
    """fastbert_batch."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("rows", c_size_t),
        ("sequence", c_size_t),
        ("type", c_int32),
        ("input_ids", c_void_p),
        ("attention_mask", c_void_p),
        ("token_type_ids", c_void_p),
    )


class Answers(_Sized):
    """fastbert_answers."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("logits", POINTER(c_float)),
        ("probabilities", POINTER(c_float)),
        ("label", POINTER(c_int32)),
        ("exit_layer", POINTER(c_int32)),
        ("uncertainty", POINTER(c_float)),
        ("truncated", POINTER(c_uint8)),
    )


class Text(ctypes.Structure):
    """fastbert_text."""

    _fields_ = (("data", c_char_p), ("size", c_size_t))


class Encoding(_Sized):
    """fastbert_encoding."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("capacity", c_size_t),
        ("input_ids", POINTER(c_int64)),
        ("attention_mask", POINTER(c_int64)),
        ("token_type_ids", POINTER(c_int64)),
        ("truncated", POINTER(c_uint8)),
        ("sequence", c_size_t),
    )


LogFunction = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p)

# Function -> (type of its result, types of its arguments).
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "fastbert_abi_version": (c_uint32, []),
    "fastbert_version": (c_char_p, []),
    "fastbert_last_error": (c_char_p, []),
    "fastbert_set_log": (None, [LogFunction, c_void_p]),
    "fastbert_model_load": (c_int32, [c_char_p, POINTER(ModelOptions), POINTER(c_void_p)]),
    "fastbert_model_free": (None, [c_void_p]),
    "fastbert_model_get_info": (c_int32, [c_void_p, POINTER(ModelInfo)]),
    "fastbert_model_label": (c_char_p, [c_void_p, c_size_t]),
    "fastbert_model_exit_layer": (c_int32, [c_void_p, c_size_t]),
    "fastbert_model_operating_point_name": (c_char_p, [c_void_p, c_size_t]),
    "fastbert_model_operating_point": (c_int32, [c_void_p, c_char_p, POINTER(c_double)]),
    "fastbert_session_create": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "fastbert_session_free": (None, [c_void_p]),
    "fastbert_classify": (c_int32, [c_void_p, POINTER(Batch), c_double, POINTER(Answers)]),
    "fastbert_classify_text": (
        c_int32,
        [c_void_p, POINTER(Text), POINTER(Text), c_size_t, c_double, POINTER(Answers)],
    ),
    "fastbert_encode": (c_int32, [c_void_p, POINTER(Text), POINTER(Text), c_size_t, POINTER(Encoding)]),
}


def load_library(path: str | Path) -> ctypes.CDLL:
    """Load ``libfastbert`` and declare its functions.

    :raises EngineError: it cannot be loaded, or has another ABI version.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise EngineError(f"{path} could not be loaded: {error}.") from error
    version = library.fastbert_abi_version()
    if version != ABI_VERSION:
        raise EngineError(f"{path} has the ABI version {version}; this package needs {ABI_VERSION}.")
    return library


class Session:
    """A bundle, loaded by the C library, with one session. For one thread at a time.

    :param library: what `load_library` returned.
    :param options: fields of fastbert_model_options.
    :raises FastBertError: of the kind that the library's status stands for.
    """

    def __init__(self, library: ctypes.CDLL, bundle: str | Path, **options: Any) -> None:
        self._library = library
        self._model, self._session = c_void_p(), c_void_p()
        self._check(
            library.fastbert_model_load(str(bundle).encode(), byref(ModelOptions(**options)), byref(self._model))
        )
        self.info = ModelInfo()
        self._check(library.fastbert_model_get_info(self._model, byref(self.info)))
        self._check(library.fastbert_session_create(self._model, byref(self._session)))

    def __del__(self) -> None:
        self._library.fastbert_session_free(self._session)
        self._library.fastbert_model_free(self._model)

    @property
    def labels(self) -> list[str]:
        """Class names by index."""
        return [self._library.fastbert_model_label(self._model, index).decode() for index in range(self.info.classes)]

    @property
    def exits(self) -> list[int]:
        """0-based layer of each exit."""
        return [self._library.fastbert_model_exit_layer(self._model, index) for index in range(self.info.exits)]

    @property
    def operating_points(self) -> list[str]:
        """Names of the operating points, of any variant."""
        names: list[str] = []
        while (name := self._library.fastbert_model_operating_point_name(self._model, len(names))) is not None:
            names.append(name.decode())
        return names

    def operating_point(self, name: str) -> float:
        """Return the speed of an operating point."""
        speed = c_double()
        self._check(self._library.fastbert_model_operating_point(self._model, name.encode(), byref(speed)))
        return speed.value

    def run(
        self,
        input_ids: NDArray[Any],
        attention_mask: NDArray[Any] | None = None,
        token_type_ids: NDArray[Any] | None = None,
        *,
        speed: float = DEFAULT_SPEED,
    ) -> ChainOutput:
        """Classify token ids: int32 or int64 [batch, sequence], as `fastbert.runtime.Classifier.run`."""
        arrays = [input_ids, attention_mask, token_type_ids]
        kept = [None if array is None else np.ascontiguousarray(array) for array in arrays]
        pointers = [None if array is None else array.ctypes.data for array in kept]
        batch = Batch(
            rows=len(input_ids),
            sequence=input_ids.shape[1],
            type=_INT32 if input_ids.dtype == np.int32 else _INT64,
            input_ids=pointers[0],
            attention_mask=pointers[1],
            token_type_ids=pointers[2],
        )
        answers, output = self._outputs(len(input_ids))
        self._check(self._library.fastbert_classify(self._session, byref(batch), speed, byref(answers)))
        return output()

    def run_text(self, texts: Sequence[TextInput], *, speed: float = DEFAULT_SPEED) -> ChainOutput:
        """Classify texts or pairs of texts."""
        answers, output = self._outputs(len(texts))
        first, second = _texts(texts)
        self._check(
            self._library.fastbert_classify_text(self._session, first, second, len(texts), speed, byref(answers))
        )
        return output()

    def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """Tokenize and pad texts, as `fastbert.runtime.Classifier.encode`."""
        capacity = self.info.max_length
        ids, mask, types = (np.zeros((len(texts), capacity), np.int64) for _ in range(3))
        truncated = np.zeros(len(texts), np.uint8)
        encoding = Encoding(
            capacity=capacity,
            input_ids=ids.ctypes.data_as(POINTER(c_int64)),
            attention_mask=mask.ctypes.data_as(POINTER(c_int64)),
            token_type_ids=types.ctypes.data_as(POINTER(c_int64)),
            truncated=truncated.ctypes.data_as(POINTER(c_uint8)),
        )
        first, second = _texts(texts)
        self._check(self._library.fastbert_encode(self._session, first, second, len(texts), byref(encoding)))
        width = max(encoding.sequence, 1)
        return Encoded(ids[:, :width], mask[:, :width], types[:, :width], truncated.astype(np.bool_))

    def _outputs(self, rows: int) -> tuple[Answers, Callable[[], ChainOutput]]:
        """Return where the library writes its answers, and what returns them then."""
        logits = np.zeros((rows, self.info.classes), np.float32)
        exit_layer, uncertainty = np.zeros(rows, np.int32), np.zeros(rows, np.float32)
        answers = Answers(
            logits=logits.ctypes.data_as(POINTER(c_float)),
            exit_layer=exit_layer.ctypes.data_as(POINTER(c_int32)),
            uncertainty=uncertainty.ctypes.data_as(POINTER(c_float)),
        )
        return answers, lambda: ChainOutput(logits, exit_layer.astype(np.int64), uncertainty)

    def _check(self, status: int) -> None:
        if status:
            raise _ERRORS.get(status, EngineError)(self._library.fastbert_last_error().decode())


def _texts(texts: Sequence[TextInput]) -> tuple[Any, Any]:
    """Return the first and, for pairs, the second texts as arrays of fastbert_text."""
    pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
    columns = [[Text(part.encode(), len(part.encode())) for part in column] for column in zip(*pairs, strict=True)]
    arrays = [(Text * len(column))(*column) for column in columns]
    return arrays[0] if arrays else None, arrays[1] if len(arrays) > 1 else None
