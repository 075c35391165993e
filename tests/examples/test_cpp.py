"""The worker in C++, as its README builds it."""

import json
import subprocess

import pytest
from support import libfastbert

EXAMPLE = libfastbert.ROOT / "examples" / "cpp"


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """The program, built by CMake without a warning."""
    prefix, cmake = libfastbert.prefix(), libfastbert.compiler("cmake")
    folder = tmp_path_factory.mktemp("cpp")
    warnings = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
    config = prefix / "lib" / "cmake" / "fastbert"
    libfastbert.run(cmake, "-S", EXAMPLE, "-B", folder, f"-Dfastbert_DIR={config}", f"-DCMAKE_CXX_FLAGS={warnings}")
    libfastbert.run(cmake, "--build", folder)
    return folder / "worker"


def test_it_prints_an_object_for_each_line(worker, text_bundle, text_classifier):
    texts = ["good film", "", "a dull plot " * 40, 'né "quoted" \\ \t']
    lines = "".join(f"{text}\n" for text in texts)
    printed = libfastbert.run(worker, text_bundle, "0.3", input=lines).stdout
    for line, answer in zip(printed.splitlines(), text_classifier.predict(texts, speed=0.3), strict=True):
        assert json.loads(line) == {
            "label": answer.label,
            "probability": pytest.approx(answer.probabilities[answer.label], abs=1e-6),
            "exit_layer": answer.exit_layer,
            "layers_run": answer.layers_run,
            "uncertainty": pytest.approx(answer.uncertainty, abs=1e-6),
            "truncated": answer.truncated,
        }


def test_a_line_that_is_not_utf8_is_an_error_of_that_line(worker, text_bundle):
    done = subprocess.run(
        [worker, text_bundle],
        input=b"good\n\xff\xfe\nbad\n",
        capture_output=True,
        check=True,
        env=libfastbert.environment(),
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["label" in answer for answer in answers] == [True, False, True]
    assert "UTF-8" in answers[1]["error"]


def test_an_answer_comes_before_the_next_line(worker, text_bundle):
    with subprocess.Popen(
        [worker, text_bundle], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=libfastbert.environment()
    ) as process:
        for text in ("good", "bad"):
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["label"]
        process.stdin.close()
        assert process.wait() == 0


def test_what_the_bundle_or_the_speed_is_not_ends_it(worker, text_bundle):
    done = libfastbert.run(worker, "nowhere", input="", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere" in done.stderr
    assert libfastbert.run(worker, check=False).returncode == 2
