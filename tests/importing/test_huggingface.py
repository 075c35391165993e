import shutil

import numpy as np
import pytest
import torch
from support.factories import LABELS, make_backbone_config, make_classifier, make_rows, make_tokenizer, write_tsv
from transformers import AutoModel

from fastbert.checkpoint import load_checkpoint
from fastbert.configuration import ExitHeadConfig
from fastbert.export import export_bundle
from fastbert.families import FAMILIES
from fastbert.importing import import_checkpoint
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.training import PhaseOptions, TrainOptions, train


def answers(model, texts, family):
    """Return the classifier's logits, one text at a time: float32 [texts, classes]."""
    tokenizer = make_tokenizer(family)
    with torch.no_grad():
        encoded = [tokenizer(text, return_tensors="pt", truncation=True, max_length=48) for text in texts]
        return np.concatenate([model(**one).logits.numpy() for one in encoded])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_exit_is_the_classifier_and_distilled_exits_follow_it(family, tmp_path):
    original = make_classifier(tmp_path / "classifier", family)
    texts = [row.text for row in make_rows(60, seed=3)]
    unlabeled = tmp_path / "texts.txt"
    unlabeled.write_text("\n".join(texts) + "\n", encoding="utf-8")
    options = TrainOptions(
        model=str(tmp_path / "classifier"),
        output=tmp_path / "model",
        unlabeled=(unlabeled,),
        phase="distill",
        max_length=48,
        batch_size=8,
        distill=PhaseOptions(epochs=2, learning_rate=1e-2),
        exit_head=ExitHeadConfig(size=16),
    )
    report = train(options)
    expected = answers(original, texts, family)
    model = load_checkpoint(tmp_path / "model").model
    assert model.config.distilled and tuple(report.labels) == LABELS
    export_bundle(tmp_path / "model", tmp_path / "bundle")
    classifier = Classifier.load(tmp_path / "bundle")
    encoded = classifier.encode(texts)
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    with torch.no_grad():
        full = model(*map(torch.from_numpy, arrays)).exit_logits[:, -1].numpy()
    assert np.abs(full - expected).max() < 1e-5
    every, _ = classifier.run_all_exits(*arrays)
    assert np.abs(every[:, -1] - expected).max() < 1e-4
    assert [one.label for one in classifier.predict(texts, speed=0.0)] == [LABELS[at] for at in expected.argmax(-1)]
    fresh = import_checkpoint(tmp_path / "classifier", output=tmp_path / "fresh")
    assert fresh.undistilled_exits == (0, 1)
    before = _divergence(load_checkpoint(fresh.output).model, arrays)
    assert _divergence(model, arrays) < 0.7 * before


def _divergence(model, arrays):
    from fastbert.training.losses import exit_divergence

    with torch.no_grad():
        return float(exit_divergence(model(*map(torch.from_numpy, arrays)).exit_logits, "forward").mean())


def test_an_import_keeps_the_classifier_and_warns_about_the_other_exits(tmp_path, caplog):
    original = make_classifier(tmp_path / "classifier", labels=("LABEL_0", "LABEL_1"))
    report = import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", labels=["no", "yes"], vocab="x.txt")
    assert report.format == "huggingface" and report.labels == ("no", "yes") and report.max_length == 66
    assert "`vocab` x.txt" in report.summary
    assert "exits after layers 0, 1 of" in caplog.text and "never distilled" in caplog.text
    checkpoint = load_checkpoint(tmp_path / "model")
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    with torch.no_grad():
        assert torch.allclose(checkpoint.model(ids).logits, original(ids).logits, atol=1e-5)
    assert import_checkpoint(tmp_path / "classifier", output=tmp_path / "other").labels == ("0", "1")


def test_an_imported_classifier_can_be_distilled(tmp_path):
    make_classifier(tmp_path / "classifier")
    import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", max_length=32)
    rows = write_tsv(tmp_path / "texts.tsv", make_rows(20), labels=False)
    train(
        TrainOptions(
            model=str(tmp_path / "model"),
            output=tmp_path / "distilled",
            unlabeled=(rows,),
            phase="distill",
            distill=PhaseOptions(epochs=1, learning_rate=1e-3),
        )
    )
    config = load_checkpoint(tmp_path / "distilled").model.config
    assert config.distilled and config.max_sequence_length == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "multi_label_classification"}, "multi_label_classification"),
        ({"id2label": {0: "score"}, "label2id": {"score": 0}}, "num_labels 1"),
    ],
)
def test_a_model_that_does_not_pick_one_class_is_refused(changes, message, tmp_path):
    make_classifier(tmp_path / "classifier", **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_arguments_that_do_not_match_are_refused(tmp_path):
    make_classifier(tmp_path / "classifier")
    with pytest.raises(CheckpointError, match="3 classes, but `labels` has 2"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", labels=["a", "b"])
    for labels, message in (
        (["a", "b", "a "], "both 'a'"),
        (["", "b", "c"], "class 0"),
        (["a", "b", "\udcff"], "unpaired surrogate"),
    ):
        with pytest.raises(UsageError, match=f"`labels` .*{message}"):
            import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", labels=labels)
    with pytest.raises(UsageError, match="`max_length` is 500; this model takes 2 to 66 tokens"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", max_length=500)
    with pytest.raises(CheckpointError, match="`format` is 'uer'. Use 'auto'"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model", format="uer")
    shutil.copytree(tmp_path / "classifier", tmp_path / "half")
    weights = tmp_path / "half" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="half"):
        import_checkpoint(tmp_path / "half", output=tmp_path / "model")
    AutoModel.from_config(make_backbone_config()).save_pretrained(tmp_path / "encoder")
    make_tokenizer().save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="encoder holds a BertModel"):
        import_checkpoint(tmp_path / "encoder", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()
