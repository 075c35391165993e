import pytest

from fastbert.importing.files import find_file, integer, parse_labels, read_json, text
from fastbert.runtime.errors import CheckpointError, UsageError


def test_a_json_object_is_read_and_anything_else_refused(tmp_path):
    path = tmp_path / "config.json"
    for content, message in (
        ("{", "not valid JSON"),
        ("[1]", "holds a list"),
        ("\ud800", "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
    ):
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(CheckpointError, match=message):
            read_json(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_json(tmp_path / "nowhere.json")
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_values_are_checked(tmp_path):
    document = {"a": 3, "b": "3", "c": True, "d": 0, "e": ""}
    assert integer(tmp_path, document, "a") == 3 and integer(tmp_path, document, "z", 5) == 5
    assert text(tmp_path, document, "b") == "3" and text(tmp_path, document, "e") is None
    with pytest.raises(CheckpointError, match=r"no 'z'.*'a'"):
        integer(tmp_path, document, "z")
    for key in "bcd":
        with pytest.raises(CheckpointError, match=f"{key} is .*integer above 0"):
            integer(tmp_path, document, key)
    with pytest.raises(CheckpointError, match="a is 3; expected a string"):
        text(tmp_path, document, "a")


def test_a_named_file_is_found_from_either_file_and_from_parent_folders(tmp_path):
    config, checkpoint = tmp_path / "config" / "op.json", tmp_path / "saved" / "run" / "Epoch_1.bin"
    for file in (config, checkpoint, tmp_path / "models" / "bert.json", checkpoint.with_name("vocab.txt")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    beside = [config, checkpoint]
    assert find_file("./models/bert.json", beside).read_text() == "bert.json"
    assert find_file("vocab.txt", beside) == checkpoint.with_name("vocab.txt")
    assert find_file("elsewhere/vocab.txt", beside) == checkpoint.with_name("vocab.txt")
    assert find_file(str(tmp_path / "models" / "bert.json"), beside).read_text() == "bert.json"
    assert find_file("nowhere.txt", beside) is None


def test_labels_are_separated_by_commas_or_listed_in_a_file(tmp_path):
    (tmp_path / "labels.txt").write_text("so, so\ngood\n", encoding="utf-8")
    assert parse_labels("bad, good") == ["bad", "good"]
    assert parse_labels(str(tmp_path / "labels.txt")) == ["so, so", "good"]
    with pytest.raises(UsageError, match="`labels` has an empty name: 'a', ''"):
        parse_labels("a,")
    with pytest.raises(UsageError, match="byte 1 is not UTF-8"):
        (tmp_path / "labels.txt").write_bytes(b"\xff\n")
        parse_labels(str(tmp_path / "labels.txt"))


def test_many_labels_are_not_a_path():
    names = [f"class number {number}" for number in range(300)]
    assert parse_labels(",".join(names)) == names
