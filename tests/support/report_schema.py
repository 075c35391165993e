"""The JSON Schema of ``report.json``.

::

    python tests/support/report_schema.py > benchmarks/report/report.schema.json

It is generated from `fastbert.benchmarks.report.results`; a test compares the file with it. Readers should ignore
unknown fields: ``fastbert-bench/2`` only adds fields, and those that a report of an earlier version lacks are optional.
"""

import json
import sys
from typing import Any

from fastbert.benchmarks.report.results import SCHEMA, BenchReport


def report_schema() -> dict[str, Any]:
    """Return the schema, JSON Schema draft 2020-12."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(BenchReport).json_schema(mode="serialization")
    schema["properties"] = {"schema": {"const": SCHEMA}, **schema["properties"]}
    schema["required"] = ["schema", *schema["required"]]
    for part in (schema, *schema["$defs"].values()):
        part.pop("description", None)  # docstrings, which are for readers of the code
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report_schema(), indent=2) + "\n")
