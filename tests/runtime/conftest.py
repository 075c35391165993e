"""What the tests of the runtime share."""

import gc

import pytest
from hypothesis import settings

# The time of one example says nothing on a busy machine.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture
def quick_gc():
    """Make `gc.collect` skip the objects of imported packages, which are many."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
