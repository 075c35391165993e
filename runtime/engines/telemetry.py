"""Warns where ONNX Runtime's telemetry may be on in this process."""

import logging

import fastbert

_log = logging.getLogger(__name__)
_warned = False


def warn_of_telemetry() -> None:
    """Warn, once per process, that ONNX Runtime was imported before fastbert could turn its telemetry off."""
    global _warned
    if fastbert.telemetry_came_first and not _warned:
        _warned = True
        _log.warning(
            "onnxruntime was imported before fastbert, so its telemetry may be on: it writes into the home directory, "
            "and a forked process may hang when it ends. Set ORT_DISABLE_TELEMETRY=1 in the environment, or import "
            "fastbert first."
        )
