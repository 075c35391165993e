import json
import os
import shutil
import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import make_rows

from fastbert.runtime import BundleError, Classifier, EngineError, UsageError

speeds = st.floats(0.0, 1.0)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), speed=speeds)
def test_a_batch_equals_its_rows_one_by_one(classifier, seed, count, speed):
    encoded = classifier.encode([row.text for row in make_rows(count, seed=seed)])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    together = classifier.run(*arrays, speed=speed)
    for row, length in enumerate(encoded.attention_mask.sum(axis=1)):
        alone = classifier.run(*(array[row : row + 1, :length] for array in arrays), speed=speed)
        assert alone.exit_layer[0] == together.exit_layer[row]
        assert alone.logits[0].argmax() == together.logits[row].argmax()
        assert np.abs(alone.logits[0] - together.logits[row]).max() <= 1e-5


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), padding=st.integers(1, 20), pad_id=st.integers(0, 23), speed=speeds)
def test_padding_changes_nothing(classifier, seed, padding, pad_id, speed):
    encoded = classifier.encode([row.text for row in make_rows(4, seed=seed)])
    plain = classifier.run(encoded.input_ids, encoded.attention_mask, speed=speed)
    padded = classifier.run(
        np.pad(encoded.input_ids, ((0, 0), (0, padding)), constant_values=pad_id),
        np.pad(encoded.attention_mask, ((0, 0), (0, padding))),
        speed=speed,
    )
    assert plain.exit_layer.tolist() == padded.exit_layer.tolist()
    assert np.abs(plain.logits - padded.logits).max() <= 1e-5


@pytest.mark.parametrize("speed", [0.0, 0.2, 0.4, 0.6, 0.9, 1.0])
def test_exits_where_pytorch_exits(classifier, checkpoint, speed):
    import torch

    encoded = classifier.encode([row.text for row in make_rows(64, seed=9)])
    inputs = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    found = classifier.run(*inputs, speed=speed)
    expected = checkpoint.model.early_exit(*(torch.from_numpy(array) for array in inputs), speed=speed)
    assert found.exit_layer.tolist() == expected.exit_layer.tolist()
    assert np.abs(found.logits - expected.logits.numpy()).max() <= 1e-5
    assert np.abs(found.uncertainty - expected.uncertainty.numpy()).max() <= 1e-5


def test_speed_0_never_exits_early_and_the_last_layer_always_answers(classifier):
    output = classifier.run(classifier.encode(["good", "bad film"]).input_ids, speed=0.0)
    assert output.exit_layer.tolist() == [2, 2]
    assert np.abs(output.logits).min() > 0


def test_some_tested_speed_makes_rows_exit_at_every_layer(classifier):
    encoded = classifier.encode([row.text for row in make_rows(64, seed=9)])
    assert set(classifier.run(encoded.input_ids, encoded.attention_mask, speed=0.4).exit_layer) == {0, 1, 2}


def test_predict_gives_text_order_whatever_the_batch_size(classifier):
    texts = [row.text for row in make_rows(23, seed=4)]
    one = classifier.predict(texts, speed=0.2, batch_size=1)
    many = classifier.predict(texts, speed=0.2, batch_size=7)
    assert [(p.label, p.exit_layer) for p in one] == [(p.label, p.exit_layer) for p in many]
    for prediction in many:
        assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
        assert prediction.layers_run == prediction.exit_layer + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_windows_and_workers_change_no_answer(classifier, workers):
    texts = [row.text for row in make_rows(150, seed=8)]
    alone = [classifier.predict([text], speed=0.3)[0] for text in texts]
    together = list(classifier.predict_iter(iter(texts), speed=0.3, workers=workers, window=40))
    assert [(p.label, p.exit_layer, p.truncated) for p in together] == [
        (p.label, p.exit_layer, p.truncated) for p in alone
    ]
    assert np.allclose([p.uncertainty for p in together], [p.uncertainty for p in alone], atol=1e-5)


@pytest.mark.parametrize("argument", ["batch_size", "workers", "window"])
def test_numbers_below_one_are_refused_before_a_text_is_read(classifier, argument):
    with pytest.raises(UsageError, match=f"`{argument}` is 0"):
        classifier.predict_iter(iter([]), **{argument: 0})


@pytest.mark.parametrize("value", [-1, 1.5, "a"])
@pytest.mark.parametrize("argument", ["batch_size", "workers", "speed"])
def test_bad_arguments_are_refused_for_one_text_as_for_many(classifier, argument, value):
    for texts in (["good film"], ["good film", "bad film"]):
        with pytest.raises(UsageError, match=f"`{argument}` is {value!r}"):
            classifier.predict(texts, **{argument: value})
    with pytest.raises(UsageError, match="Put the text into a list"):
        classifier.predict("a")


def test_one_text_in_any_sequence_gets_the_same_answer(classifier):
    expected = list(classifier.predict_iter(["good film"], speed=0.0))
    for texts in (["good film"], ("good film",), np.array(["good film"], dtype=object)):
        assert classifier.predict(texts, speed=0.0) == expected


def test_an_empty_text_is_answered_and_a_long_one_is_flagged(classifier):
    empty, long, fits = classifier.predict(["", "good " * 200, "good " * 46])
    assert (empty.truncated, long.truncated, fits.truncated) == (False, True, False)
    assert empty.label in classifier.labels


def test_pairs(classifier):
    assert classifier.predict([("good film", "bad plot"), "good film"], speed=0.0)[0].label in classifier.labels


def test_nothing_in_nothing_out(classifier):
    assert classifier.predict([]) == []
    output = classifier.run(np.zeros((0, 5), dtype=np.int64))
    assert (output.logits.shape, output.exit_layer.shape) == ((0, 3), (0,))
    assert classifier.run_all_exits([])[0].shape == (0, 3, 3)


def test_16_threads_get_the_same_results_as_alone(bundle):
    classifier = Classifier.load(bundle, threads=2)
    batches = [[row.text for row in make_rows(9, seed=seed)] for seed in range(16)]
    alone = [classifier.predict(batch, speed=0.4) for batch in batches]
    found: dict[int, list] = {}

    def work(number):
        found[number] = [classifier.predict(batches[number], speed=0.4) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, repeated in found.items():
        for predictions in repeated:
            for mine, expected in zip(predictions, alone[number], strict=True):
                assert (mine.label, mine.exit_layer) == (expected.label, expected.exit_layer)
                assert mine.uncertainty == pytest.approx(expected.uncertainty, abs=1e-6)
    assert len(found) == 16


def test_a_moved_read_only_bundle_works(bundle, tmp_path, classifier):
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundle, moved)
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        before = sorted(path.name for path in moved.rglob("*"))
        assert Classifier.load(moved).predict(["good"])[0].label == classifier.predict(["good"])[0].label
        assert sorted(path.name for path in moved.rglob("*")) == before
    finally:
        for path in [moved, *moved.rglob("*")]:
            path.chmod(0o755)


@pytest.mark.parametrize("speed", [-0.1, 1.1, float("nan"), float("inf"), "0.5", True])
def test_a_speed_outside_0_and_1_is_refused(classifier, speed):
    with pytest.raises(UsageError, match="from 0"):
        classifier.predict(["good"], speed=speed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 24]],), "24; the model knows 0 to 23"),
        (([[1, -1]],), "-1; the model knows"),
        (([[1] * 67],), "66 positions"),
        (([1, 2],), r"\[batch, sequence\]"),
        (([[1.5, 2.0]],), "expected integers"),
        (([[1, 2]], [[1]]), "`attention_mask` has the shape"),
        (([[1, 2]], [[0, 1]]), "hides the first token"),
        (([[1, 2]], [[1, 2]]), "`attention_mask` holds 2"),
        (([[1, 2]], None, [[0, 2]]), "`token_type_ids` holds 2"),
    ],
)
def test_bad_ids_are_refused_with_what_was_found(classifier, arguments, message):
    with pytest.raises(UsageError, match=message):
        classifier.run(*arguments)


def test_bad_texts_are_refused(classifier):
    with pytest.raises(UsageError, match="list of texts"):
        classifier.predict("good")
    with pytest.raises(UsageError, match=r"texts\[1\] is None"):
        classifier.predict(["good", None])
    with pytest.raises(UsageError, match="batch_size"):
        classifier.predict(["good"], batch_size=0)


@pytest.mark.parametrize("texts", [None, 5, np.array("good"), object()])
@pytest.mark.parametrize("method", ["predict", "predict_iter", "encode"])
def test_other_values_than_lists_are_refused_before_they_are_read(classifier, method, texts):
    with pytest.raises(UsageError, match=f"`texts` is of type {type(texts).__name__}; it must be a list of texts"):
        getattr(classifier, method)(texts)


def test_any_iterable_is_encoded_even_an_empty_one(classifier):
    expected = classifier.encode(["good", "a bad film"])
    for texts in (iter(["good", "a bad film"]), np.array(["good", "a bad film"]), deque(["good", "a bad film"])):
        assert (classifier.encode(texts).input_ids == expected.input_ids).all()
    nothing = classifier.encode([])
    assert nothing.input_ids.shape == nothing.attention_mask.shape == nothing.token_type_ids.shape == (0, 1)
    assert nothing.truncated.shape == (0,)
    assert classifier.run(nothing.input_ids).exit_layer.shape == (0,)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("bad", [None, "half \ud800"])
def test_a_bad_text_is_named_by_its_index_among_all(classifier, workers, bad):
    with pytest.raises(UsageError, match=r"texts\[7\]"):
        list(classifier.predict_iter(["good"] * 7 + [bad], workers=workers, window=3))


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.mark.parametrize("name", ["fp32/stage_01.onnx", "fp32/embeddings.onnx", "tokenizer.json"])
def test_a_missing_truncated_or_altered_file_is_named(copy, name):
    path = copy / name
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Classifier.load(copy)
    path.write_bytes(whole[:-10])
    with pytest.raises(BundleError, match=f"{name} has {len(whole) - 10} bytes"):
        Classifier.load(copy)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{name} was altered"):
        Classifier.load(copy)


def test_another_major_version_is_refused_and_an_unknown_field_is_not(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "new_field": 1, "schema": "fastbert-bundle/1.3"}))
    Classifier.load(copy)
    path.write_text(json.dumps({**manifest, "schema": "fastbert-bundle/2"}))
    with pytest.raises(BundleError, match="fastbert-bundle/2"):
        Classifier.load(copy)


def test_a_damaged_or_missing_manifest_is_named(copy, tmp_path):
    (copy / "manifest.json").write_text('{"schema": "fastbert-bundle/1"}')
    with pytest.raises(BundleError, match=r"manifest\.json is damaged.*labels"):
        Classifier.load(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Classifier.load(copy)
    with pytest.raises(BundleError, match="is not a bundle"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("labels", [["negative"], ["negative", "positive"], list("abcd")])
@pytest.mark.parametrize("batches", [False, True])
def test_more_or_fewer_labels_than_classes_are_refused(copy, labels, batches):
    path = copy / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))
    with pytest.raises(BundleError, match=f"has {len(labels)} labels; the engines have 3 classes"):
        Classifier.load(copy, batches=batches)


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize(
    "swap",
    [
        lambda fp32: fp32.update(row=fp32["embeddings"], embeddings=fp32["row"]),
        lambda fp32: fp32.update(row=fp32["stages"][0], stages=[fp32["row"], *fp32["stages"][1:]], chain=None),
        lambda fp32: fp32.update(row=fp32["chain"], chain=fp32["row"]),
        lambda fp32: fp32.update(
            embeddings=fp32["stages"][0], stages=[fp32["embeddings"], *fp32["stages"][1:]], chain=None, row=None
        ),
        lambda fp32: fp32.update(embeddings=fp32["row"], row=None),
    ],
)
def test_a_file_of_another_engine_is_refused(copy, swap, batches):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    swap(manifest["variants"]["fp32"])
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="An engine takes .* and returns .*; expected .*the wrong file"):
        Classifier.load(copy, threads=2, batches=batches).predict(["a", "b"])


def test_a_chain_model_with_another_number_of_stages_is_refused(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    fp32 = manifest["variants"]["fp32"]
    fp32["stages"] = fp32["stages"][1:]
    path.write_text(json.dumps({**manifest, "exits": [1, 2]}))
    with pytest.raises(BundleError, match="An engine takes .*digit_1 and returns .*; expected"):
        Classifier.load(copy, threads=2, batches=True)


def test_a_missing_device_or_variant_is_named(bundle):
    with pytest.raises(UsageError, match="no variant for device 'tpu'.*fp32 for cpu"):
        Classifier.load(bundle, device="tpu")
    with pytest.raises(UsageError, match="no variant 'int4'"):
        Classifier.load(bundle, variant="int4")


@pytest.mark.parametrize("threads", [-1, 1.5, "1", 10**6, 10**20])
def test_a_wrong_number_of_threads_is_refused_by_name(bundle, threads):
    with pytest.raises(UsageError, match=f"`threads` is {threads!r}; it must be a whole number"):
        Classifier.load(bundle, threads=threads)


def test_a_path_that_cannot_be_resolved_is_named(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for path in (tmp_path / "loop", "nul\0", "relative"):
        with pytest.raises(BundleError, match="cannot be read"):
            Classifier.load(path)


def test_a_path_that_is_not_utf8_is_refused_by_name(bundle, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bundle\xff"))
    shutil.copytree(bundle, path)
    with pytest.raises(BundleError, match=r"bundle\\udcff'\) is not UTF-8.*Rename it") as refused:
        Classifier.load(path)
    str(refused.value).encode()


def test_threads_and_pools_that_are_impossible_are_refused(bundle):
    with pytest.raises(UsageError, match="from 1 to 4096"):
        Classifier.load(bundle, threads=0)
    with pytest.raises(UsageError, match="`thread_pool` is 'mine'; it must be one of separate, host"):
        Classifier.load(bundle, thread_pool="mine")


def test_loading_leaves_the_working_directory_alone(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Classifier.load(bundle).predict(["good"])
    assert os.listdir(tmp_path) == []


def test_a_manifest_with_more_tokens_than_the_engines_have_is_our_error(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "vocab_size": 1000}))
    classifier = Classifier.load(tmp_path / "bundle", threads=1)
    for ids in ([[1, 999, 2]], [[1, 999, 2], [1, 5, 2]]):
        with pytest.raises(EngineError, match="could not run the bundle.s engines.*export the bundle again"):
            classifier.run(np.array(ids))
