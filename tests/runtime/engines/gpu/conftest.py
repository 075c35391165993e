import pytest

from fastbert.runtime import classifier
from fastbert.runtime.engines.gpu import device_chain


@pytest.fixture
def small_groups(monkeypatch):
    """Make full batches and groups of similar length small, so that few texts fill them."""
    monkeypatch.setattr(device_chain, "POOL_TOKENS", 64)
    monkeypatch.setattr(classifier, "_GROUP_TOKENS", 128)
