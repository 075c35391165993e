import pytest
import typer

from fastbert.console.arguments import completion, names, numbers, speed, speeds


def test_numbers():
    assert numbers()("0, 0.5") == (0.0, 0.5)
    assert numbers(int)("2,5,2") == (2, 5)
    for parse, text in ((numbers(), "0,fast"), (numbers(int), "0.5"), (numbers(), "")):
        with pytest.raises(typer.BadParameter, match="not a comma-separated list"):
            parse(text)


def test_names():
    assert names(("a", "b"))("b, a") == ("b", "a")
    assert names(())("anything") == ("anything",)
    with pytest.raises(typer.BadParameter, match="'c' is not one of a, b"):
        names(("a", "b"))("a,c")


def test_completion_of_the_last_name():
    assert completion(("fp32", "fp16", "int8"))("int8,f") == ["int8,fp32", "int8,fp16"]


def test_speeds_are_numbers_or_names_of_operating_points():
    assert speed("0.5") == 0.5
    assert speed(" balanced") == "balanced"
    assert speeds("0, 0.5,balanced,0.50") == (0.0, 0.5, "balanced")
    for text in ("", "0,,1", "0.5x", "-"):
        with pytest.raises(typer.BadParameter, match="neither a number nor the name of an operating point"):
            speeds(text)
