"""What the tests of the runtime share."""

from hypothesis import settings

# The time of one example says nothing on a busy machine.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
