import json

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from fastbert.data import label_names, read_rows, read_texts, sample
from fastbert.rows import Row
from fastbert.runtime.errors import DataError


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_tsv_with_a_header(tmp_path):
    path = write(tmp_path / "a.tsv", 'label\ttext\npos\tsaid "so\nneg\t\n')
    assert read_rows(path) == [Row('said "so', None, "pos"), Row("", None, "neg")]


def test_columns_may_stand_in_any_order_and_pairs_are_read(tmp_path):
    path = write(tmp_path / "a.tsv", "text_b\ttext_a\tlabel\nb\ta\t1\n")
    assert read_rows(path) == [Row("a", "b", "1")]


def test_the_originals_headerless_form_is_read_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    assert read_rows(write(tmp_path / "a.tsv", "1\tgood\n0\tbad\n"))[1] == Row("bad", None, "0")
    assert "a.tsv has no header (label, text): its first line is read as a row, labelled '1'" in caplog.text


def test_integers_are_ordered_as_numbers_and_what_only_looks_like_one_as_names():
    names = ["10", "9", "-1", "²", "--5", "x", "9" * 5000]
    assert label_names([Row("", None, name) for name in names], "a.tsv") == [
        "-1",
        "9",
        "10",
        "--5",
        "9" * 5000,
        "x",
        "²",
    ]


def test_lines_end_at_newline_only(tmp_path):
    texts = ["a\u2028b", "c\u0085d", "e\x0bf\x1cg", "h"]
    path = write(tmp_path / "a.tsv", "\ufefflabel\ttext\r\n" + "".join(f"1\t{text}\r\n" for text in texts))
    assert [row.text for row in read_rows(path)] == texts


def test_csv_jsonl_parquet_and_txt(tmp_path):
    rows = [Row("a, b", None, "x"), Row('c "d"', None, "y")]
    csv = write(tmp_path / "a.csv", 'label,text\nx,"a, b"\ny,"c ""d"""\n')
    lines = [json.dumps({"text": row.text, "label": row.label}) for row in rows]
    jsonl = write(tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    Dataset.from_dict({"text": [row.text for row in rows], "label": ["x", "y"]}).to_parquet(tmp_path / "a.parquet")
    assert read_rows(csv) == read_rows(jsonl) == read_rows(tmp_path / "a.parquet") == rows
    assert read_rows(write(tmp_path / "a.txt", "a, b\n\n")) == [Row("a, b"), Row("")]
    assert [row.label for row in read_texts(csv)] == [None, None]


def test_integer_labels_and_multiline_csv(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": 10}\n{"text": "b", "label": 9}\n')
    assert label_names(read_rows(path), path) == ["9", "10"]
    assert read_rows(write(tmp_path / "a.csv", 'label,text\n1,"a\nb"\n'))[0].text == "a\nb"


@given(st.lists(st.text(st.characters(exclude_characters="\t\n\r\ufeff", exclude_categories=["Cs"])), min_size=1))
def test_tsv_gives_back_any_text(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    write(path, "label\ttext\n" + "".join(f"x\t{text}\n" for text in texts))
    assert [row.text for row in read_rows(path)] == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", r"a\.tsv has no rows"),
        ("a.tsv", "label\ttext\n", r"a\.tsv has no rows"),
        ("a.tsv", "label\tsentence\nx\ty\n", r"a\.tsv, line 1: unknown column 'sentence'.*Expected label, text"),
        ("a.tsv", "label\tidx\nx\ty\n", r"line 1: unknown column 'idx'"),
        ("a.csv", "label\nx\n", r"line 1: no column 'text'"),
        ("a.tsv", "label\ttext\nx\ta\nx\ta\tb\n", r"a\.tsv, line 3: 3 fields, expected 2"),
        ("a.tsv", "label\ttext\nx\n", r"line 2: 1 field, expected 2"),
        ("a.csv", "label,text\nx,a,b\n", r"a\.csv, line 2: 3 fields, expected 2"),
        ("a.csv", 'label,text\nx,"a\n', r"a\.csv, line 2: not valid CSV"),
        ("a.tsv", b"label\ttext\nx\ta\nx\t\xff\n", r"a\.tsv, line 3: byte 3 \(0xff\) is not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '["a"]\n', r"line 1: expected a JSON object, found list"),
        ("a.jsonl", '{"text": 3}\n', r"line 1: column 'text' holds 3"),
        ("a.jsonl", '{"text": "a", "label": 1.5}\n', r"label 1\.5 is neither"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', r"row 2 has no label"),
        ("a.tsv", "label\ttext\n\ta\n", r"line 2: the label is empty"),
        ("a.jsonl", '{"text": "\\ud800x"}\n', r"line 1: column 'text' holds half a character"),
        ("a.jsonl", '{"text": "x", "label": "\\udc00"}\n', r"line 1: column 'label' holds half a character"),
        ("a.parquet", "no parquet", r"a\.parquet is no readable Parquet file"),
        ("a.xlsx", "x", r"'\.xlsx' are unknown; use \.tsv, \.csv"),
    ],
)
def test_bad_files_are_refused_by_file_and_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / name, content))


def test_a_missing_file_and_a_missing_label_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.tsv does not exist"):
        read_rows(tmp_path / "nowhere.tsv")
    with pytest.raises(DataError, match="is a directory"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="line 2: there is no label"):
        read_rows(write(tmp_path / "a.tsv", "text\na\n"), require_label=True)


def test_a_label_that_train_lacks_is_named(tmp_path):
    path = write(tmp_path / "dev.tsv", "label\ttext\nx\ta\nz\tb\n")
    with pytest.raises(DataError, match=r"dev\.tsv, line 3: the label 'z' is not among those trained on: x, y"):
        read_rows(path, labels=["x", "y"])


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match="only the label 'x'"):
        label_names([Row("a", None, "x")] * 3, "train.tsv")


def test_sample_is_seeded_and_without_replacement():
    rows = [Row(str(number)) for number in range(50)]
    drawn = sample(rows, 20, seed=1)
    assert drawn == sample(rows, 20, seed=1) != sample(rows, 20, seed=2)
    assert len(set(drawn)) == 20
    assert sample(rows, None, seed=1) == sample(rows, 99, seed=1) == rows
