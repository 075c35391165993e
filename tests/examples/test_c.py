"""The example in C, as its README builds it."""

import shutil

import pytest
from support import libfastbert
from support.factories import LABELS

EXAMPLE = libfastbert.ROOT / "examples" / "c"


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    """The program, compiled without a warning."""
    library = libfastbert.prefix() / "lib"
    make, compiler = libfastbert.compiler("make"), libfastbert.compiler("cc")
    folder = tmp_path_factory.mktemp("c") / "example"
    shutil.copytree(EXAMPLE, folder)
    flags = f"-I{library.parent}/include -L{library} -lfastbert -Wl,-rpath,{library}"
    warnings = "-Wall -Wextra -pedantic -Werror"
    libfastbert.run(make, "-C", folder, f"FLAGS={flags}", f"CC={compiler}", f"CFLAGS={warnings}")
    return folder / "classify"


def test_it_prints_a_line_for_each_text(classify, text_bundle, text_classifier):
    texts = ["good film", "", "a dull plot"]
    lines = libfastbert.run(classify, text_bundle, *texts).stdout.splitlines()
    answers = text_classifier.predict(texts)
    assert [line.split("\t") for line in lines] == [
        [answer.label, f"{answer.layers_run} layers", f"uncertainty {answer.uncertainty:.3f}", text]
        for answer, text in zip(answers, texts, strict=True)
    ]
    assert {answer.label for answer in answers} <= set(LABELS)


def test_errors_are_printed_and_end_it(classify, text_bundle):
    done = libfastbert.run(classify, "nowhere", "text", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert "nowhere" in done.stderr
    assert libfastbert.run(classify, text_bundle, check=False).returncode == 2
