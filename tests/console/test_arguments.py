import pytest
import typer

from fastbert.console.arguments import completion, names, numbers


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
