import json

import pytest
import torch
from support.originals import Shape, bitvoyage_configs, bitvoyage_state, make_vocabulary, uer_config, uer_state

from fastbert.checkpoint import load_checkpoint
from fastbert.export import export_bundle
from fastbert.importing import FORMATS, import_checkpoint
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError, OutputExistsError, UsageError
from fastbert.training import PhaseOptions, TrainOptions, train


@pytest.fixture
def bitvoyage(tmp_path):
    (tmp_path / "models").mkdir()
    rows = len(make_vocabulary(tmp_path / "models" / "vocab.txt"))
    torch.save(bitvoyage_state(Shape(), rows), tmp_path / "bitvoyage.bin")
    return tmp_path / "bitvoyage.bin", bitvoyage_configs(tmp_path, Shape(), rows)


@pytest.fixture
def uer(tmp_path):
    rows = len(make_vocabulary(tmp_path / "vocab.txt"))
    shape = Shape(types=3)
    torch.save(uer_state(shape, rows), tmp_path / "uer.bin")
    return tmp_path / "uer.bin", uer_config(tmp_path, shape)


def test_the_format_is_detected_and_a_wrong_one_refused(bitvoyage, uer, tmp_path):
    for (path, config), name, other in ((bitvoyage, "bitvoyage", "uer"), (uer, "uer", "bitvoyage")):
        assert import_checkpoint(path, config=config, output=tmp_path / name).format == name
        assert import_checkpoint(path, config=config, output=tmp_path / f"{name}2", format=name).format == name
        for wrong in (other, "huggingface"):
            with pytest.raises(CheckpointError, match=f"`format` is '{wrong}'. Use '{name}'"):
                import_checkpoint(path, config=config, output=tmp_path / "wrong", format=wrong)
    with pytest.raises(UsageError, match="`format` is 'onnx'; use auto, bitvoyage, uer, huggingface"):
        import_checkpoint(uer[0], output=tmp_path / "wrong", format="onnx")
    assert FORMATS[0] == "auto" and not (tmp_path / "wrong").exists()


def test_an_unknown_format_is_refused(bitvoyage, tmp_path):
    torch.save({"encoder.weight": torch.ones(2)}, tmp_path / "other.bin")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (
            tmp_path / "other.bin",
            r"known formats \(bitvoyage, uer, huggingface\).*1 tensors: encoder\.weight",
        ),
        (tmp_path / "empty", "neither a config.json"),
        (tmp_path / "nowhere", "nowhere does not exist"),
    ):
        with pytest.raises(CheckpointError, match=message):
            import_checkpoint(path, output=tmp_path / "model")
    import_checkpoint(bitvoyage[0], config=bitvoyage[1], output=tmp_path / "model")
    with pytest.raises(CheckpointError, match="is already a FastBERT checkpoint"):
        import_checkpoint(tmp_path / "model", output=tmp_path / "again")


def test_an_output_is_replaced_only_on_request_and_only_on_success(bitvoyage, tmp_path):
    path, config = bitvoyage
    import_checkpoint(path, config=config, output=tmp_path / "model")
    with pytest.raises(OutputExistsError):
        import_checkpoint(path, config=config, output=tmp_path / "model")
    with pytest.raises(CheckpointError):
        import_checkpoint(path, config=config, output=tmp_path / "model", labels=["a"], overwrite=True)
    assert load_checkpoint(tmp_path / "model").model.config.labels == ["0", "1", "2"]
    import_checkpoint(path, config=config, output=tmp_path / "model", labels=["a", "b", "c"], overwrite=True)
    assert load_checkpoint(tmp_path / "model").model.config.labels == ["a", "b", "c"]


def test_rows_are_kept_for_verification(uer, tmp_path):
    rows = tmp_path / "rows.tsv"
    rows.write_text("label\ttext\n7\t很好\n7\tbad\n", encoding="utf-8")
    import_checkpoint(uer[0], config=uer[1], output=tmp_path / "model", verify_data=rows)
    assert [row.text for row in load_checkpoint(tmp_path / "model").sample_rows] == ["很好", "bad"]


def test_an_imported_model_can_be_distilled_and_keeps_its_configuration(uer, tmp_path):
    import_checkpoint(uer[0], config=uer[1], output=tmp_path / "model", max_length=24)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(["很好", "差 good", "[SEP] 书", "x[SEP]"] * 5) + "\n", encoding="utf-8")
    train(
        TrainOptions(
            model=str(tmp_path / "model"),
            output=tmp_path / "distilled",
            unlabeled=(texts,),
            phase="distill",
            batch_size=4,
            distill=PhaseOptions(epochs=1, learning_rate=1e-2),
        )
    )
    before, after = (load_checkpoint(tmp_path / name) for name in ("model", "distilled"))
    assert after.model.config.layer_norm == "unbiased" and after.model.config.default_token_type == 1
    ids = torch.tensor([[2, 5, 6, 7]])
    with torch.no_grad():
        first, second = (checkpoint.model(ids).exit_logits for checkpoint in (before, after))
    assert torch.equal(first[:, -1], second[:, -1]) and not torch.allclose(first[:, 0], second[:, 0])
    export_bundle(tmp_path / "distilled", tmp_path / "bundle")
    texts = ["[SEP] 书 x[SEP]", "差"]
    encoded = Classifier.load(tmp_path / "bundle").encode(texts)
    expected = [one.ids for one in before.tokenizer.backend_tokenizer.encode_batch(texts)]
    assert encoded.input_ids[0].tolist() == expected[0] and encoded.token_type_ids[1].tolist()[:3] == [1, 1, 0]


def test_an_import_may_measure_something_else_than_the_original(uer, tmp_path):
    for measure, said in (("entropy", 0), ("margin", 1)):
        found = import_checkpoint(uer[0], config=uer[1], output=tmp_path / measure, uncertainty=measure)
        assert load_checkpoint(tmp_path / measure).model.config.uncertainty == measure
        assert sum("exits measure margin" in sentence for sentence in found.assumed) == said
    with pytest.raises(UsageError, match="`uncertainty` is 'energy'; use entropy or margin"):
        import_checkpoint(uer[0], config=uer[1], output=tmp_path / "wrong", uncertainty="energy")


def test_a_missing_config_leaves_no_output(uer, tmp_path):
    with pytest.raises(CheckpointError, match="as `config`"):
        import_checkpoint(uer[0], output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_command_prints_what_was_found(uer, tmp_path, run_cli):
    code, out, err = run_cli(
        "import", uer[0], "--config", uer[1], "--labels", "bad, so-so,good", "--output", tmp_path / "model"
    )
    assert code == 0 and "uer, 3 layers, labels bad, so-so, good" in out and "assumed: layer norm" in out
    code, out, err = run_cli("import", uer[0], "--config", uer[1], "--output", tmp_path / "other", "--json")
    assert code == 0 and json.loads(out)["format"] == "uer" and json.loads(out)["undistilled_exits"] == []
    code, out, err = run_cli("import", uer[0], "--output", tmp_path / "third")
    assert code == 1 and not out and err.startswith("Error: ") and "config" in err and "Traceback" not in err
    code, _, err = run_cli("import", uer[0], "--format", "x", "--output", tmp_path / "third")
    assert code == 2 and "format" in err and "'x'" in err and not (tmp_path / "third").exists()
