from types import SimpleNamespace

from fastbert.console.verifications import c_library_lines, engine_lines, verification_lines


def _verification(**changed):
    found = {
        "variant": "int8",
        "rows": 40,
        "exits": (1, 3),
        "exact": False,
        "problems": [],
        "largest_logit_difference": (0.25, 0.5),
        "label_flips": (1, 0),
        "answer_flips": {"0.5": 1},
        "exit_flips": {"0.5": 2},
        "accuracy": {"0.5": (0.9, 0.875)},
    }
    return SimpleNamespace(**{**found, **changed})


def test_a_lossy_variant_shows_its_accuracy_beside_pytorchs():
    assert verification_lines(_verification()) == [
        "verified: int8 on 40 rows",
        "  largest logit difference by exit  1: 2.5e-01  3: 5.0e-01",
        "  label flips by exit               1: 1  3: 0",
        "  answer flips by speed             0.5: 1",
        "  exit flips by speed               0.5: 2",
        "  accuracy by speed, PyTorch > here 0.5: 90.0 > 87.5",
    ]


def test_an_exact_variant_and_rows_without_labels_show_no_accuracy():
    for changed in ({"exact": True}, {"accuracy": None}):
        assert not any("accuracy" in line for line in verification_lines(_verification(**changed)))


def test_problems_are_a_failure_in_each_form():
    assert verification_lines(_verification(problems=["logits differ"]))[0].startswith("FAILED: int8")
    engine = SimpleNamespace(engine="stage_0", largest_difference={"logits": 0.1}, problems=["logits differ"])
    assert engine_lines(engine) == ["FAILED: stage_0      logits 1.0e-01"]


def test_texts_that_the_c_library_cannot_tokenize_say_why():
    found = _verification(
        largest_logit_difference=1e-6,
        largest_uncertainty_difference=1e-7,
        token_mismatches=None,
        text_problem="no tokenizer",
    )
    assert c_library_lines(found)[0] == "verified: int8 in C on 40 rows"
    assert c_library_lines(found)[-1] == "  texts tokenized differently       not compared: no tokenizer"
