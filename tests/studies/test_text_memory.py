import json

from studies.random_bundle import in_child


def test_a_long_text_takes_little_memory_beyond_itself(bundle):
    found = json.loads(in_child("text_memory", "measure", str(bundle), "words, 10 MB"))
    assert set(found) == {"seconds", "beyond_text_mb"}
    assert 0 <= found["beyond_text_mb"] < 40  # the text alone has 10 MB, and is not copied several times
