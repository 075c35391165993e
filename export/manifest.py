"""``manifest.json`` as it is written: the document of a new bundle, and its check against the JSON Schema.

`docs/bundle-format.md` describes the fields. `fastbert.runtime.manifest` reads them without a JSON Schema library.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastbert.files.atomic import replace_file
from fastbert.runtime import manifest as reader
from fastbert.runtime.errors import BundleError, MissingDependencyError
from fastbert.runtime.manifest import MANIFEST

SCHEMA_FILE = Path(__file__).with_name("manifest.schema.json")
_MADE_WITH = ("fastbert-deploy", "torch", "transformers", "tokenizers", "onnx", "onnxruntime")


class ManifestWriter:
    """Writes manifests that follow the JSON Schema. Make one before the work: it needs the package jsonschema.

    :param extra: the extra of ``fastbert-deploy`` to name if jsonschema is missing.
    :raises MissingDependencyError: jsonschema is not installed.
    """

    def __init__(self, extra: str) -> None:
        try:
            from jsonschema import Draft202012Validator
        except ImportError as error:
            raise MissingDependencyError("jsonschema", extra) from error
        self._validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes()))

    def check(self, path: Path, document: Mapping[str, Any]) -> None:
        """Check a document.

        :param path: of the manifest, for the message.
        :raises BundleError: the document does not follow the schema; the message names the field.
        """
        from jsonschema.exceptions import best_match

        error = best_match(self._validator.iter_errors(document))
        if error is not None:
            raise BundleError(
                f"{path} does not follow the schema of manifests: {error.json_path}: {error.message:.200}. "
                "Export the bundle again, or correct it where you wrote it yourself."
            )

    def write(self, bundle: Path, document: Mapping[str, Any]) -> None:
        """Check a document and write it as a bundle's manifest, in one step.

        :raises BundleError: as `check`.
        """
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        self.check(bundle / MANIFEST, json.loads(text))
        replace_file(bundle / MANIFEST, text.encode())


def versions() -> dict[str, str | None]:
    """Return the versions of what a bundle is made with; None: not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _MADE_WITH}}


def files_of(bundle: Path, names: Sequence[str]) -> dict[str, reader.FileRecord]:
    """Return path inside the bundle -> bytes and sha256."""
    return {name: reader.file_record(bundle / name) for name in names}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
