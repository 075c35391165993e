"""What engines are built from: the graphs of a variant, and the model of a single row that is joined from them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastbert.runtime.engines.gpu.tensorrt.libraries import Library
from fastbert.runtime.errors import BundleError, MissingDependencyError
from fastbert.runtime.manifest import Manifest, Variant

ROW = "row"


@dataclass(frozen=True)
class Part:
    """One engine to build.

    :param graph: its name, as in `fastbert.export.tensorrt.builder.EngineBuilder.build`.
    :param sha256: changes when its model does.
    :param read: returns its ONNX model.
    """

    graph: str
    sha256: str
    read: Callable[[], bytes]


def parts_of(
    bundle: Path, manifest: Manifest, source: Variant, library: Library, single_row: bool | None
) -> list[Part]:
    """Return the engines to build from a variant.

    :param single_row: whether to build the engine of a single row; None: where the library is known to build it.
    :raises MissingDependencyError: it is to be built, and onnx is not installed.
    :raises UsageError: it is to be built, and there are too many stages for it.
    """
    parts = [Part(Path(file).stem, manifest.files[file]["sha256"], (bundle / file).read_bytes) for file in source.files]
    if single_row is False or (single_row is None and not library.single_row):
        return parts
    try:
        from fastbert.export.joined.single_row_engine import MAX_STAGES, check_stages, single_row_engine_model
    except ImportError as error:
        raise MissingDependencyError("onnx", library.build_extra) from error
    if single_row is None and len(source.stages) > MAX_STAGES:
        return parts
    check_stages(len(source.stages))
    digests = "\n".join(manifest.files[file]["sha256"] for file in (source.embeddings, *source.stages))

    def read() -> bytes:
        stages = [bundle / file for file in source.stages]
        try:
            model = single_row_engine_model(bundle / source.embeddings, stages, manifest.exits)
        except OSError:
            raise
        except Exception as error:  # of onnx and protobuf, which have no common base
            raise BundleError(
                f"The graphs of {source.name} cannot be joined to one for a single row ({type(error).__name__}: "
                f"{error}). fastbert export did not write them, or they are damaged: export the bundle again."
            ) from error
        return bytes(model.SerializeToString())

    return [*parts, Part(ROW, hashlib.sha256(digests.encode()).hexdigest(), read)]
