"""Models that keep only the first layers of an encoder."""

from typing import Any

from fastbert.configuration import FastBertConfig
from fastbert.runtime.errors import UsageError


def keep_layers(config: Any, layers: int | None, source: object) -> None:
    """Cut a configuration to its first layers, in place.

    :param config: of an encoder, or of a FastBERT checkpoint, which cannot be cut.
    :param layers: 1 or more; None: all.
    :param source: where the configuration is from, for messages.
    :raises UsageError: there are fewer layers, or a FastBERT checkpoint has more.
    """
    if isinstance(config, FastBertConfig):
        if layers not in (None, config.num_exits):
            raise UsageError(
                f"`layers` is {layers}, but {source} is a FastBERT checkpoint with {config.num_exits}. Start from the "
                "encoder that it was trained from."
            )
    elif layers is not None:
        if layers > config.num_hidden_layers:
            raise UsageError(f"`layers` is {layers}; {source} has only {config.num_hidden_layers}.")
        config.num_hidden_layers = layers
