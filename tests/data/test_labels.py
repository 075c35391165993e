from types import SimpleNamespace

import pytest

from fastbert.data.labels import class_names, label_maps, placeholders_as
from fastbert.runtime.errors import CheckpointError


def names(id2label):
    return class_names("model", SimpleNamespace(id2label=id2label))


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        ({0: "a", 1: "b"}, ["a", "b"]),
        ({1: "b", 0: "a"}, ["a", "b"]),
        ({0: 0, 1: 1}, ["0", "1"]),
        ({0: -1, 1: 2.5}, ["-1", "2.5"]),
        ({0: False, 1: True}, ["false", "true"]),
        ({0: " a", 1: "b\u00a0"}, ["a", "b"]),
        ({0: "A", 1: "a"}, ["A", "a"]),
    ],
)
def test_names_are_kept_as_their_text(id2label, expected):
    assert names(id2label) == expected


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        ({0: "a", 2: "b"}, "has the ids 0, 2; expected 0, 1"),
        ({1: "a", 2: "b"}, "has the ids 1, 2; expected 0, 1"),
        ({-1: "a", 0: "b"}, "has the ids -1, 0"),
        ({0: "a", 1: "b", 3: "c"}, "has the ids 0, 1, 3"),
        ({0: "same", 1: "b", 2: "same"}, "classes 0 and 2 both 'same'"),
        ({0: "same", 1: "same "}, "classes 0 and 1 both 'same'"),
        ({0: 1, 1: "1"}, "classes 0 and 1 both '1'"),
        ({0: None, 1: "b"}, "has null for the class 0"),
        ({0: "a", 1: ""}, 'has "" for the class 1'),
        ({0: "a", 1: " \n"}, "for the class 1"),
        ({0: ["a"], 1: "b"}, r"has \[\"a\"\] for the class 0"),
        ({0: {"a": 1}, 1: "b"}, "for the class 0"),
        ({"x": "a", 1: "b"}, "has the ids x, 1"),
        ({0: "a", 1: "b\ud800"}, "for the class 1: an unpaired surrogate"),
    ],
)
def test_a_mapping_that_does_not_name_every_class_is_refused(id2label, message):
    with pytest.raises(CheckpointError, match=f"id2label in the config.json of model.*{message}"):
        names(id2label)


def test_placeholders_become_numbers_unless_the_data_has_them():
    placeholders = ["LABEL_0", "LABEL_1"]
    assert placeholders_as(placeholders, []) == placeholders_as(placeholders, ["0", "1"]) == ["0", "1"]
    assert placeholders_as(placeholders, ["LABEL_1"]) == placeholders
    assert placeholders_as(["LABEL_1", "LABEL_0"], []) == ["LABEL_1", "LABEL_0"]
    assert placeholders_as(["no", "yes"], ["0"]) == ["no", "yes"]


def test_maps_of_a_configuration_agree():
    assert label_maps(["no", "yes"]) == {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
