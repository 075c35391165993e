"""``fastbert verify --runtime c``: the C library must give the answers of Python's runtime."""

import json

import numpy as np
import pytest
from support import libfastbert
from support.factories import make_rows, write_tsv

from fastbert.export import ExportOptions, export_bundle
from fastbert.export.golden import read_golden
from fastbert.export.verification.c_library import compare_c_library
from fastbert.runtime import UsageError
from fastbert.runtime.cpp.binding import Session


@pytest.fixture(autouse=True)
def c_library(monkeypatch):
    """The library of `libfastbert`, also where the package is installed without one."""
    path = libfastbert.library()
    monkeypatch.setenv("FASTBERT_LIBRARY", str(path))
    return path


@pytest.mark.parametrize("measure", ["entropy", "margin"])
def test_every_variant_for_the_cpu_answers_as_in_python(checkpoint, tmp_path, measure):
    rows = checkpoint.sample_rows[:16]
    options = ExportOptions(precisions=("fp32", "int8"), uncertainty=measure, verify_data=rows)
    export_bundle(checkpoint, tmp_path / "bundle", options)
    found = compare_c_library(tmp_path / "bundle")
    assert [each.variant for each in found] == ["fp32", "int8"]
    for each in found:
        assert (each.problems, each.rows, each.largest_logit_difference) == ([], 16, 0.0)
        assert set(each.exit_flips) == {"0.0", "0.1", "0.3", "0.5", "0.8"}
    assert [each.variant for each in compare_c_library(tmp_path / "bundle", variant="int8")] == ["int8"]


def test_texts_are_tokenized_as_in_python(text_bundle, tmp_path):
    data = write_tsv(tmp_path / "more.tsv", make_rows(70, seed=5), labels=False)
    (found,) = compare_c_library(text_bundle, data=data)
    assert (found.problems, found.rows, found.token_mismatches, found.text_problem) == ([], 110, 0, None)


def test_a_tokenizer_that_the_library_lacks_is_said(bundle):
    (found,) = compare_c_library(bundle)
    assert (found.problems, found.token_mismatches) == ([], None)
    assert "WordLevel" in found.text_problem


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("logits", 0.01, "logits differ by up to 1.00e-02; the bound is 1e-05"),
        ("logits", np.nan, "logits differ by up to nan"),
        ("uncertainty", 0.01, "uncertainties differ by up to 1.00e-02"),
        ("exit_layer", 1, "rows exit after other layers: 8 at speed 0.1, 8 at speed 0.5"),
    ],
)
def test_other_answers_are_found(bundle, monkeypatch, field, value, problem):
    run = Session.run

    def run_otherwise(session, *inputs, **options):
        output = run(session, *inputs, **options)
        if len(inputs[0]) == 8:  # the last batch
            getattr(output, field)[:] += np.asarray(value, getattr(output, field).dtype)
        return output

    monkeypatch.setattr(Session, "run", run_otherwise)
    (found,) = compare_c_library(bundle)
    assert len(found.problems) == 1
    assert problem in found.problems[0]
    assert found.as_dict()["passed"] is False


def test_other_ids_are_found(text_bundle, monkeypatch):
    encode = Session.encode

    def encode_otherwise(session, texts):
        encoded = encode(session, texts)
        encoded.input_ids[0, -1] += int(texts[0].startswith("good"))
        return encoded

    monkeypatch.setattr(Session, "encode", encode_otherwise)
    (found,) = compare_c_library(text_bundle)
    changed = sum(text.startswith("good") for text in read_golden(text_bundle / "golden.npz").texts)
    assert (found.token_mismatches, changed > 0) == (changed, True)
    assert f"{changed} texts are tokenized differently" in found.problems[0]


def test_no_such_variant(bundle):
    with pytest.raises(UsageError, match="int8"):
        compare_c_library(bundle, variant="int8")


def test_the_command_prints_figures(run_cli, bundle, c_library):
    code, out, err = run_cli("verify", bundle, "--runtime", "c")
    assert (code, err) == (0, "")
    assert "verified: fp32 in C on 40 rows\n  largest logit difference          0.0e+00\n" in out
    assert "texts tokenized differently       not compared: " in out
    code, out, _ = run_cli("verify", bundle, "--runtime", "c", "--json")
    assert (code, json.loads(out)["fp32"]["passed"]) == (0, True)
    assert json.loads(out)["fp32"]["library"] == str(c_library)


def test_the_command_fails_on_other_answers(run_cli, bundle, monkeypatch):
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda *inputs, **options: run(*inputs, **{**options, "speed": 0.0}))
    code, out, err = run_cli("verify", bundle, "--runtime", "c")
    assert code == 1
    assert out.startswith("FAILED: fp32 in C")
    assert "rows exit after other layers: " in err


@pytest.mark.parametrize(
    "option", [["--against", "model"], ["--device", "cpu"], ["--tolerance", "1e-3"], ["--max-label-flips", "0.1"]]
)
def test_the_command_refuses_options_that_it_does_not_have(run_cli, bundle, option):
    code, _, err = run_cli("verify", bundle, "--runtime", "c", *option)
    assert (code, f"Omit {option[0]}." in err) == (2, True)


def test_a_library_that_is_missing_or_is_another_file_is_named(run_cli, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTBERT_LIBRARY", str(tmp_path / "nowhere.so"))
    code, _, err = run_cli("verify", bundle, "--runtime", "c")
    assert (code, "nowhere.so, which is not a file" in err) == (1, True)
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv("FASTBERT_LIBRARY", str(tmp_path / "text.so"))
    code, _, err = run_cli("verify", bundle, "--runtime", "c")
    assert (code, "text.so could not be loaded" in err) == (1, True)
