import contextlib
import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fastbert.data import iter_inputs, iter_texts, label_names, read_rows, read_texts, sample, with_labels
from fastbert.data.rows import Row
from fastbert.runtime.errors import DataError, MissingDependencyError


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_tsv_with_a_header(tmp_path):
    path = write(tmp_path / "a.tsv", 'label\ttext\npos\tsaid "so\nneg\t\n')
    assert read_rows(path) == [Row('said "so', None, "pos"), Row("", None, "neg")]


def test_columns_may_come_in_any_order_and_pairs_are_read(tmp_path):
    path = write(tmp_path / "a.tsv", "text_b\ttext_a\tlabel\nb\ta\t1\n")
    assert read_rows(path) == [Row("a", "b", "1")]


def test_the_headerless_form_of_the_original_code_is_read_with_a_note(tmp_path, caplog):
    caplog.set_level("INFO")
    assert read_rows(write(tmp_path / "a.tsv", "1\tgood\n0\tbad\n"))[1] == Row("bad", None, "0")
    assert "a.tsv has no header (label, text): its first line is read as a row, labelled '1'" in caplog.text


def test_integers_are_sorted_as_numbers_and_everything_else_as_names():
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
def test_any_text_survives_tsv(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    write(path, "label\ttext\n" + "".join(f"x\t{text}\n" for text in texts))
    assert [row.text for row in read_rows(path)] == texts


ANY_TEXT = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(ANY_TEXT.map(str.strip).filter(bool), ANY_TEXT, ANY_TEXT), min_size=1))
def test_any_pair_survives_csv_jsonl_and_parquet(tmp_path_factory, rows):
    folder, columns = tmp_path_factory.mktemp("any"), ("label", "text_a", "text_b")
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    write(folder / "a.jsonl", "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    write_parquet(folder / "a.parquet", **dict(zip(columns, zip(*rows, strict=True), strict=True)))
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert read_rows(folder / name) == [Row(text, pair, label) for label, text, pair in rows]


SEEDS = {
    ".tsv": b"Label\ttext_a\ttext_b\na\tx\ty\n\tx\t\n",
    ".csv": b'label,text\na,"x\ny"\nb,"x ""y"""\n',
    ".jsonl": b'{"label": 12, "text": "x"}\n{"text": "\\ud83d\\ude00", "label": null}\n',
    ".txt": b"\xef\xbb\xbfx\r\n\ny",
}


@pytest.mark.parametrize("ending", SEEDS)
@settings(deadline=None, max_examples=50)
@given(
    st.binary(max_size=40),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([b"\0", b"\xff", b"\r", b'"', b"\n", b"\t", b"9", b"{"]))),
)
def test_any_bytes_give_rows_or_one_data_error(tmp_path_factory, ending, anything, changes):
    path, changed = tmp_path_factory.mktemp("bytes") / f"a{ending}", bytearray(SEEDS[ending])
    for place, piece in changes:
        changed[place % len(changed) : place % len(changed)] = piece
    for content in (anything, bytes(changed)):
        for read in (read_rows, read_texts):
            with contextlib.suppress(DataError):
                assert read(write(path, content))


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
        (
            "a.jsonl",
            '{"text": "\\ud800x"}\n',
            r"line 1: column 'text' has an unpaired surrogate, so it is not valid Unicode",
        ),
        (
            "a.jsonl",
            '{"text": "x", "label": "\\udc00"}\n',
            r"line 1: column 'label' has an unpaired surrogate, so it is not valid Unicode",
        ),
        ("a.parquet", "no parquet", r"a\.parquet is not a readable Parquet file"),
        ("a.tsv", '"label"\t"text"\n"x"\t"a"\n', r"line 1: the header is in quotes"),
        ("a.tsv", "Label\tSentence\nx\ta\n", r"line 1: unknown column 'Sentence'"),
        ("a.tsv", "label\ttext\n\u00a0\ta\n", r"line 2: the label is empty"),
        ("a.tsv", "text\ttext_a\na\tb\n", r"line 1: both 'text' and 'text_a'"),
        ("a.tsv", "text\ttext_b\na\tb\n", r"a column 'text_b' without 'text_a'"),
        ("a.tsv", "label\ttext\rx\ta\r", r"line 1: unknown column"),
        ("a.csv", "label,text\rx,a\r", r"line 1: not valid CSV: there is a carriage return"),
        ("a.csv", 'label,text\nx,"a\nb"\ny,"z\nq\n', r"line 4: not valid CSV: a quote that opens here is not closed"),
        ("a.csv", 'label,text\nx,"a\nb"\ny,"z\nq",r\n', r"line 4: 3 fields, expected 2"),
        ("a.csv", 'label,text\nx,"a"b\n', r"line 2: not valid CSV: ',' expected after"),
        ("a.jsonl", '{"text": "a", "label": "x", "label": "y"}\n', r"line 1: the name 'label' is repeated"),
        ("a.jsonl", '{"text": "a", "label": "x", "Label": "y"}\n', r"line 1: two columns 'label'"),
        ("a.jsonl", '{"text": "a"}\n\n{}\n', r"line 3: no column 'text'; found none"),
        ("a.jsonl", '{"text_a": null}\n', r"line 1: column 'text_a' holds None"),
        ("a.xlsx", "x", r"'\.xlsx' are not supported; use \.tsv, \.csv"),
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
    with pytest.raises(DataError, match="line 2: the label is missing"):
        read_rows(write(tmp_path / "a.tsv", "text\na\n"), require_label=True)


def test_a_label_that_is_not_allowed_is_named(tmp_path):
    path = write(tmp_path / "dev.tsv", "label\ttext\nx\ta\nz\tb\n")
    with pytest.raises(DataError, match=r"dev\.tsv, line 3: the label 'z' is not among those trained on: x, y"):
        read_rows(path, labels=["x", "y"])


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match="only the label 'x'"):
        label_names([Row("a", None, "x")] * 3, "train.tsv")


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.txt", "a.parquet"])
def test_reading_loads_nothing_heavy(tmp_path, name):
    if name == "a.parquet":
        write_parquet(tmp_path / name, text=["x"])
    else:
        write(tmp_path / name, '{"text": "x"}' if name == "a.jsonl" else "text\nx\n")
    script = (
        "import sys; from fastbert.data import read_texts; before = set(sys.modules); read_texts(sys.argv[1])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'}\n"
        "print(sorted(before & heavy), sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / name], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("[] ['pyarrow']" if name == "a.parquet" else "[] []")


@pytest.mark.parametrize("spelling", ["Label\tText", "LABEL\tTEXT", " label \t text ", "Label\ttext"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_case_and_spaces_in_a_header_do_not_matter(tmp_path, name, spelling):
    content = f"{spelling}\nspam\tbuy\n".replace("\t", "," if name == "a.csv" else "\t")
    assert read_rows(write(tmp_path / name, content)) == [Row("buy", None, "spam")]


def test_case_and_spaces_in_names_of_json_and_parquet_do_not_matter(tmp_path):
    assert read_rows(write(tmp_path / "a.jsonl", '{"Text": "x", "LABEL": 1}')) == [Row("x", None, "1")]
    assert read_rows(write_parquet(tmp_path / "a.parquet", **{" Text": ["x"], "Label": [1]})) == [Row("x", None, "1")]


@pytest.mark.parametrize("size", [131_073, 2_000_000])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_csv_field_may_be_longer_than_the_limit_of_the_process(tmp_path, size, quote):
    before = csv.field_size_limit(1000)
    try:
        path = write(tmp_path / "a.csv", f"label,text\na,{quote}{'x' * size}{quote}\n")
        assert [len(row.text) for row in read_rows(path)] == [size]
        assert csv.field_size_limit() >= size
        csv.field_size_limit(2**31 - 1)
        read_rows(path)
        assert csv.field_size_limit() == 2**31 - 1  # never lowered
    finally:
        csv.field_size_limit(before)


def test_blank_lines_are_skipped_unless_a_line_is_a_text(tmp_path):
    rows = [Row("x", None, "a"), Row("y", None, "b")]
    assert read_rows(write(tmp_path / "a.tsv", "\nlabel\ttext\na\tx\n\nb\ty\n\n\n")) == rows
    assert read_rows(write(tmp_path / "a.csv", "\nlabel,text\na,x\n\nb,y\n\n\n")) == rows
    line = '{{"label": "{}", "text": "{}"}}'.format
    assert read_rows(write(tmp_path / "a.jsonl", f"\n{line('a', 'x')}\n \n{line('b', 'y')}\n\n")) == rows
    assert read_rows(write(tmp_path / "b.tsv", "text\n\nx\n")) == [Row(""), Row("x")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_first_line_for_spreadsheets_is_skipped(tmp_path, name):
    separator = "," if name == "a.csv" else "\t"
    path = write(tmp_path / name, f"sep={separator}\nlabel{separator}text\na{separator}x\n")
    assert read_rows(path) == [Row("x", None, "a")]
    with pytest.raises(DataError, match=r"line 1: fields are separated by ';'"):
        read_rows(write(tmp_path / name, "sep=;\nlabel;text\na;x\n"))


ODD_SPACES = ["a ", " a", "\u00a0a", "a\u3000", " a\u2003"]


@pytest.mark.parametrize("written", ODD_SPACES)
@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl", "parquet", "categories", "class names"])
def test_labels_that_differ_by_white_space_are_one_with_one_warning(tmp_path, caplog, format, written):
    labels, texts = ["a", written, written, "b"], ["1", "2", "3", "4"]
    if format == "parquet":
        path = write_parquet(tmp_path / "a.parquet", text=texts, label=labels)
    elif format == "categories":
        path = write_parquet(tmp_path / "a.parquet", text=texts, label=pa.array(labels).dictionary_encode())
    elif format == "class names":
        path = write_parquet(tmp_path / "a.parquet", class_names("a", written, "b"), text=texts, label=[0, 1, 1, 2])
    elif format == "jsonl":
        lines = [json.dumps({"label": label, "text": text}) for label, text in zip(labels, texts, strict=True)]
        path = write(tmp_path / "a.jsonl", "\n".join(lines))
    else:
        separator = "," if format == "csv" else "\t"
        lines = [f"{label}{separator}{text}\n" for label, text in zip(labels, texts, strict=True)]
        path = write(tmp_path / f"a.{format}", "".join([f"label{separator}text\n", *lines]))
    assert [row.label for row in read_rows(path)] == ["a", "a", "a", "b"]
    assert caplog.text.count("differ only in white space") == 1


def test_the_same_white_space_around_every_label_gives_no_warning(tmp_path, caplog):
    assert read_rows(write(tmp_path / "a.csv", "text,label\nx, a\ny, a\n"))[1].label == "a"
    assert caplog.text == ""


def test_labels_are_spelled_as_the_model_spells_them(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext\npos \tx\nneg\ty\n")
    assert [row.label for row in read_rows(path, labels=[" pos", "neg"])] == [" pos", "neg"]
    assert [row.label for row in read_texts(path, labels=[" pos", "neg"])] == [" pos", "neg"]
    assert [row.label for row in with_labels(read_rows(path), [" pos", "neg"], path)] == [" pos", "neg"]
    both = write(tmp_path / "b.tsv", "label\ttext\na\tx\na \ty\n")
    assert [row.label for row in read_rows(both, labels=["a", "a "])] == ["a", "a "]  # a model of two such classes
    with pytest.raises(DataError, match=r"a\.tsv, row 2: the label 'neg' is not among those trained on: pos"):
        with_labels(read_rows(path), ["pos"], path)


UNUSED = {
    "empty.tsv": "label\ttext\n\tx\n \ty\n",
    "empty.csv": "label,text\n,x\na,y\n",
    "null.jsonl": '{"text": "x", "label": "b"}\n{"text": "y", "label": null}\n',
    "bad.jsonl": '{"text": "x", "label": 1.5}\n{"text": "y", "label": [true]}\n',
    "digits.jsonl": f'{{"text": "x", "label": {"1" * 5000}}}\n{{"text": "y", "label": 1}}\n',
    "half.jsonl": '{"text": "x"}\n{"text": "y", "label": "\\ud800"}\n',
    "float.parquet": [0.5, None],
    "bool.parquet": [True, False],
    "list.parquet": [["a"], None],
    "struct.parquet": [{"a": 1}, {"a": 2}],
    "bytes.parquet": [b"\xff", b"a"],
    "null.parquet": [None, None],
    "int.parquet": [-1, None],
}


def write_unused(folder, name):
    content = UNUSED[name]
    path = folder / name
    return write(path, content) if isinstance(content, str) else write_parquet(path, text=["x", "y"], label=content)


@pytest.mark.parametrize("name", UNUSED)
def test_labels_that_are_not_used_may_be_anything(tmp_path, name):
    path = write_unused(tmp_path, name)
    assert read_texts(path) == list(iter_texts(path)) == [Row("x"), Row("y")]
    labels = [row.label for row in read_texts(path, labels=["a"])]
    assert labels == ([None, "a"] if name == "empty.csv" else [None, None])
    if name not in ("null.parquet", "int.parquet"):
        with pytest.raises(DataError, match=name):
            read_rows(path)


def test_partly_labelled_files_are_accepted_on_request(tmp_path, caplog):
    path = write(tmp_path / "a.jsonl", '{"text": "x", "label": 1}\n' + '{"text": "y", "label": 0.5}\n' * 2)
    assert [row.label for row in read_rows(path, partly_labelled=True)] == ["1", None, None]
    assert caplog.text.count("the label 0.5 is neither a name nor an integer; such rows count as") == 1
    path = write(tmp_path / "a.tsv", "label\ttext\na\tx\n\ty\n")
    assert [row.label for row in read_rows(path, partly_labelled=True)] == ["a", None]
    with pytest.raises(DataError, match="line 2: the label 'a' is not among"):
        read_rows(path, labels=["b"], partly_labelled=True)


def class_names(*names, column="label"):
    feature = {"names": names, "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {column: feature}}})}


def write_parquet(path, metadata=None, **columns):
    table = pa.table(columns)
    parquet.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


@pytest.mark.parametrize(
    "name",
    ["[a]", "*", "?", "a::b", "zip::a", "hf:a", "-a", "~", "a b", "é\n", "{}", "%s", os.fsdecode(b"\xff")],
)
def test_a_parquet_name_is_taken_literally(tmp_path, monkeypatch, name):
    name += ".parquet"
    for other in ("a.parquet", "b.parquet"):
        write_parquet(tmp_path / other, text=["wrong"])
    try:
        write_parquet(tmp_path / "made", text=["right"]).rename(tmp_path / name)
    except OSError:
        pytest.skip("no such name on this file system")
    monkeypatch.chdir(tmp_path)
    assert read_rows(tmp_path / name) == read_rows(name) == [Row("right")]


def test_a_replaced_parquet_file_with_the_same_time_gives_the_new_rows(tmp_path):
    path = tmp_path / "a.parquet"
    for text in ("old", "new"):
        write_parquet(path, text=[text])
        os.utime(path, (1, 1))
        assert read_rows(path) == [Row(text)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
def test_reading_parquet_writes_nothing_and_starts_no_thread(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    path = write_parquet(tmp_path / "a.parquet", text=["x"] * 1000, label=[1] * 1000)
    script = (
        "import os, sys; from fastbert.data import read_rows; import pyarrow.parquet\n"
        "before = len(os.listdir('/proc/self/task')); assert len(read_rows(sys.argv[1])) == 1000\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(home)}
    done = subprocess.run([sys.executable, "-c", script, path], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "0"
    assert (list(home.iterdir()), sorted(tmp_path.iterdir())) == ([], [path, home])


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", text=["x"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastbert-deploy\[data\]'"):
        read_rows(path)


def test_class_names_stored_in_parquet_are_the_labels(tmp_path):
    path = tmp_path / "a.parquet"
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features).to_parquet(path)
    assert [row.label for row in read_rows(path, labels=["neg", "pos"])] == ["pos", "neg"]
    write_parquet(path, class_names("neg", "pos"), text=["x", "y", "z"], label=[1, -1, None])
    assert [row.label for row in read_texts(path, labels=["neg", "pos"])] == ["pos", None, None]
    write_parquet(path, class_names("neg", "pos", column="Label"), text=["x"], Label=[1])
    assert read_rows(path) == [Row("x", None, "pos")]
    write_parquet(path, class_names("neg", "pos"), text=["x", "y"], label=[-1, -1])  # a test set of the hub
    assert read_rows(path) == [Row("x"), Row("y")]
    write_parquet(path, class_names("neg", "pos"), text=["x"], label=["pos"])
    assert read_rows(path) == [Row("x", None, "pos")]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64(), pa.string(), pa.large_string()])
@pytest.mark.parametrize("categories", [False, True])
def test_integers_texts_and_categories_are_labels(tmp_path, kind, categories):
    values = pa.array(
        ["1", "2", "1"] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else [1, 2, 1], kind
    )
    path = write_parquet(
        tmp_path / "a.parquet",
        text=pa.array(["x", "y", "x"], kind if isinstance(values[0].as_py(), str) else None),
        label=values.dictionary_encode() if categories else values,
    )
    assert read_rows(path) == [Row("x", None, "1"), Row("y", None, "2"), Row("x", None, "1")]


def test_string_views_are_texts_and_the_index_of_pandas_is_ignored(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=pa.array(["x"], pa.string_view()), __index_level_0__=[7])
    assert read_rows(path) == [Row("x")]


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_parquet_of_many_row_groups_and_codecs(tmp_path, codec):
    texts = [f"text {number}" for number in range(300)]
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", compression=codec, row_group_size=77)
    assert [row.text for row in read_rows(tmp_path / "a.parquet")] == texts


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["x", None]}, r"row 2: column 'text' holds None, not a text"),
        ({"text": [None, None]}, r"row 1: column 'text' holds None, not a text"),
        ({"text": [1]}, r"column 'text' is of type int64; expected texts"),
        ({"text": [b"x"]}, r"column 'text' is of type binary; expected texts"),
        ({"text": [["x"]]}, r"column 'text' is of type list<.*>; expected texts"),
        ({"text_a": ["x"], "text_b": [{"a": "x"}]}, r"column 'text_b' is of type struct<.*>; expected texts"),
        ({"text": ["x"], "label": [1.0]}, r"row 1: the label 1\.0 of type double is neither a name nor an integer"),
        ({"text": ["x"], "label": [True]}, r"the label True of type bool is neither"),
        ({"text": ["x"], "label": [["a"]]}, r"the label \['a'\] of type list<.*> is neither"),
        ({"text": ["x"], "label": [{"a": 1}]}, r"of type struct<.*> is neither"),
        ({"text": ["x"], "label": [b"a"]}, r"the label b'a' of type binary is neither"),
        ({"text": ["x"], "label": pa.array([1], pa.timestamp("ns"))}, r"of type timestamp\[ns\] is neither"),
        ({"text": ["x", "y"], "label": ["a", None]}, r"row 2 has no label"),
        ({"text": ["x"], "label": [" "]}, r"row 1: the label is empty"),
        ({"text": NOT_UTF8}, r"row 2: column 'text' holds bytes that are not UTF-8"),
        ({"text": ["x", "y"], "label": NOT_UTF8}, r"row 2: the label bytes that are not UTF-8"),
        ({"text": pa.array([], pa.string())}, r"has no rows"),
        ({"text": ["x"], "idx": [1]}, r"unknown column 'idx'"),
        ({"label": ["x"]}, r"no column 'text'"),
        ({"text": ["x"], "TEXT": ["y"]}, r"two columns 'text'; found 'text', 'TEXT'"),
        ({}, r"no column 'text'; found none"),
    ],
)  # fmt: skip
def test_bad_parquet_columns_are_refused_by_row_and_type(tmp_path, columns, message):
    with pytest.raises(DataError, match=rf"(?s)a\.parquet.*{message}"):
        read_rows(write_parquet(tmp_path / "a.parquet", **columns))


@pytest.mark.parametrize("metadata", [class_names("a"), class_names(), class_names(1, 2), {"huggingface": "{"}])
def test_a_number_without_a_class_name_is_not_a_label(tmp_path, metadata):
    path = write_parquet(tmp_path / "a.parquet", metadata, text=["x"], label=[1])
    with pytest.raises(DataError, match="the label 1 of type ClassLabel with . names"):
        read_rows(path)
    assert read_texts(path, labels=["1"]) == [Row("x")]


def test_damaged_parquet_gives_rows_or_one_error(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", text=["x"] * 50, label=[1] * 50).read_bytes()
    draw, path = random.Random(0), tmp_path / "b.parquet"
    encrypted = b"PARE" + whole[4:-4] + b"PARE"
    for content in (b"", b"PAR1", b"PAR1PAR1", whole[:-9], whole[: len(whole) // 2], b"label,text\na,b\n", encrypted):
        with pytest.raises(DataError, match=r"b\.parquet is not a readable Parquet file"):
            read_rows(write(path, content))
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 3])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        try:
            read_rows(write(path, bytes(content)))
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.tsv", "headerless.tsv", "a.csv", "a.jsonl", "a.txt"])
def test_other_encodings_are_named(tmp_path, name, encoding):
    content = {
        "a.tsv": "label\ttext\na\tgr\u00fcn\n",
        "headerless.tsv": "1\tgr\u00fcn\n0\tx\n",
        "a.csv": "label,text\na,x\n",
        "a.jsonl": '{"text": "gr\u00fcn"}\n',
        "a.txt": "gr\u00fcn\n",
    }[name]
    right = {"utf-16": "UTF-16", "utf-32": "UTF-32"}.get(
        encoding, encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    )
    with pytest.raises(DataError, match=rf"the file is {right}, not UTF-8\. .*iconv -f {right} -t UTF-8"):
        read_rows(write(tmp_path / name, content.encode(encoding)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xfe\xff\0l", "is UTF-16"),
        (b"\0\0\xfe\xff\0\0\0l", "is UTF-32"),
        (gzip.compress(b"label,text\na,b\n", mtime=0), "compressed"),
        (b"PK\x03\x04", "workbook"),
        (b"PAR1\x15\x04", r"end in \.parquet"),
        (b"label,text\na,gr\xfcn\n", r"line 2: byte 5 \(0xfc\) is not UTF-8.*iconv -f latin1"),
        (b"\xef\xbb\xbf\xff,text\n", r"line 1: byte 4 \(0xff\) is not UTF-8"),
    ],
)
def test_what_is_not_utf8_text_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / "a.csv", content))


DEEP_LIST, DEEP_OBJECT = "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "label",
    ["1" * 5000, "-" + "1" * 5000, DEEP_LIST, DEEP_OBJECT, "NaN", "-Infinity", "1.0", "1e3", "1e999"],
    ids=lambda label: label[:8],
)
def test_extreme_json_values_give_one_short_error(tmp_path, label):
    path = write(tmp_path / "a.jsonl", f'{{"text": "x", "label": {label}}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: ") as caught:
        read_rows(path)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("level", [100, 800])
def test_messages_about_large_values_are_short(tmp_path, level):
    nested = "[" * level + '"' + "x" * 100_000 + '"' + "]" * level
    with pytest.raises(DataError) as caught:
        read_rows(write(tmp_path / "a.jsonl", f'{{"text": {nested}}}'))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    path = write(tmp_path / "a.tsv", f"label\ttext\n{'y' * 100_000}\tx\n")
    with pytest.raises(DataError, match="and 980 more") as caught:
        read_rows(path, labels=[str(number) for number in range(1000)])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.tsv", "does not exist"),
        ("nowhere", "does not exist"),
        ("file.tsv/a.tsv", "cannot be read: Not a directory"),
        ("loop.tsv", "cannot be read: Too many levels"),
        ("dangling.tsv", "does not exist"),
        ("a" * 300 + ".tsv", "cannot be read: File name too long"),
        ("a\0.tsv", "cannot be read: embedded null"),
        ("\ud800.tsv", "cannot be read: .*surrogates not allowed"),
        ("folder.parquet", "is a directory"),
        ("plain", "files without an ending are not supported"),
    ],
)
def test_files_that_cannot_be_opened_are_named(tmp_path, name, message):
    write(tmp_path / "file.tsv", "text\nx\n")
    write(tmp_path / "plain", "x\n")
    (tmp_path / "loop.tsv").symlink_to("loop.tsv")
    (tmp_path / "dangling.tsv").symlink_to("gone.tsv")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tsv", "a.parquet"])
def test_a_file_without_read_permission_is_named(tmp_path, name, monkeypatch):
    path = write(tmp_path / name, "text\nx\n")

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "open", refuse)  # the superuser may read everything
    with pytest.raises(DataError, match=rf"{name} cannot be read: Permission denied"):
        read_rows(path)


def test_a_pipe_gives_rows_or_one_error(tmp_path):
    def give(path, content):
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(content)

    for name in ("a.tsv", "a.parquet"):
        os.mkfifo(tmp_path / name)
        threading.Thread(target=give, args=(tmp_path / name, b"text\nx\n"), daemon=True).start()
    assert read_rows(tmp_path / "a.tsv") == [Row("x")]
    with pytest.raises(DataError, match="is a pipe"):
        read_rows(tmp_path / "a.parquet")


def test_sample_is_seeded_and_without_replacement():
    rows = [Row(str(number)) for number in range(50)]
    drawn = sample(rows, 20, seed=1)
    assert drawn == sample(rows, 20, seed=1) != sample(rows, 20, seed=2)
    assert len(set(drawn)) == 20
    assert sample(rows, None, seed=1) == sample(rows, 99, seed=1) == rows


@pytest.mark.parametrize("name", ["lines", "lines.txt"])
def test_inputs_of_a_text_file_are_its_lines(tmp_path, name):
    path = write(tmp_path / name, "\ufeffa\r\n\nlabel\ttext\u2028b")
    assert list(iter_inputs(path)) == ["a", "", "label\ttext\u2028b"]


def test_inputs_of_a_data_file_are_texts_and_pairs(tmp_path):
    assert list(iter_inputs(write(tmp_path / "a.tsv", "text\tlabel\na\tx\n"))) == ["a"]
    assert list(iter_inputs(write(tmp_path / "a.csv", "text_a,text_b\na,b\n"))) == [("a", "b")]


def test_inputs_of_stdin_are_its_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("gr\u00fcn\nb".encode())))
    assert list(iter_inputs(None)) == ["gr\u00fcn", "b"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff\n")))
    with pytest.raises(DataError, match="stdin, line 2: byte 1"):
        list(iter_inputs(None))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="stdin is closed"):
        list(iter_inputs(None))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.txt", "nowhere.tsv"])
def test_inputs_of_a_missing_file_are_an_error_that_names_it(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name} does not exist"):
        list(iter_inputs(tmp_path / name))
