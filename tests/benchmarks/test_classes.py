import numpy as np
import pytest

from fastbert.benchmarks.classes import ClassDepth, class_depths, mix_note


def test_classes_are_listed_from_the_deepest_and_without_rows_not_at_all():
    layers, labels = np.array([1, 1, 3, 6, 6]), np.array([0, 0, 0, 2, 2])
    assert class_depths(layers, labels, ("negative", "none", "positive"), 6) == (
        ClassDepth("positive", 2, 6.0, 1.0),
        ClassDepth("negative", 3, pytest.approx(5 / 3), 0.0),
    )


def test_the_note_says_what_the_mean_hides():
    depths = [ClassDepth("positive", 40, 5.0, 0.81), ClassDepth("negative", 160, 2.0, 0.17)]
    assert mix_note(depths) == (
        "the saving depends on the mix of classes: rows of the class positive run 5.0 layers on average, those of "
        "negative 2.0. The mean of 2.6 is for this file, where they are 20 % and 80 % of the rows. For another mix, "
        "weight each class's mean layers by its share."
    )


@pytest.mark.parametrize(
    "depths",
    [
        [],
        [ClassDepth("one", 100, 5.0, 0.5)],
        [ClassDepth("deep", 100, 3.2, 0.5), ClassDepth("shallow", 100, 2.9, 0.4)],  # about as deep
        [ClassDepth("rare", 3, 6.0, 1.0), ClassDepth("frequent", 100, 2.0, 0.1)],  # too few rows to tell
    ],
)
def test_there_is_no_note_where_the_mix_does_not_matter(depths):
    assert mix_note(depths) is None
