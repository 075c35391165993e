import shutil

import pytest
import torch
from support.factories import make_rows, save_backbone, write_tsv

from fastbert.modeling import FastBertForSequenceClassification
from fastbert.training import PhaseOptions, TrainOptions, train
from fastbert.training.frozen import FrozenOutputs


def outputs_of(rows, sequence, lengths):
    """Layer outputs [batch, sequence, 3] that name their row, token and layer; padding holds something else."""
    layers = torch.full((2, len(rows), sequence, 3), -7.0)
    for position, row in enumerate(rows):
        for token in range(lengths[row]):
            layers[:, position, token] = torch.tensor([[row, token, 0.0], [row, token, 1.0]])
    return list(layers)


def test_known_rows_come_back_in_any_batch_and_padded_with_zeros(tmp_path):
    lengths = [3, 1, 4, 2]
    store = FrozenOutputs.open(tmp_path, lengths, layers=2, hidden_size=3)
    assert not list(tmp_path.iterdir())  # nothing is left behind, even by a process that is killed
    for batch in ([0, 1], [2, 3]):
        computed = outputs_of(batch, 4, lengths)
        assert store.get(torch.tensor(batch), 4, lambda computed=computed: computed) is computed
    found = store.get(torch.tensor([3, 0, 1]), 3, pytest.fail)
    expected = [layer.clamp(min=0) for layer in outputs_of([3, 0, 1], 3, lengths)]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_batch_with_an_unknown_row_is_computed(tmp_path):
    store = FrozenOutputs.open(tmp_path, [2, 2], layers=2, hidden_size=3)
    store.get(torch.tensor([0]), 2, lambda: outputs_of([0], 2, [2, 2]))
    computed = outputs_of([0, 1], 2, [2, 2])
    assert store.get(torch.tensor([0, 1]), 2, lambda: computed) is computed


def test_what_does_not_fit_on_the_disk_is_not_kept(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 900, 100))
    assert FrozenOutputs.open(tmp_path, [2, 2], layers=2, hidden_size=3) is None
    assert "runs in every epoch" in caplog.text


def test_a_file_that_cannot_be_mapped_is_not_kept(tmp_path, monkeypatch, caplog):
    def from_file(*arguments, **options):
        raise RuntimeError("unable to mmap 48 bytes: Cannot allocate memory (12)")

    monkeypatch.setattr(torch, "from_file", from_file)
    assert FrozenOutputs.open(tmp_path, [2, 2], layers=2, hidden_size=3) is None
    assert "runs in every epoch" in caplog.text
    assert not list(tmp_path.iterdir())


def test_distillation_runs_the_backbone_once_per_row_and_trains_the_same_heads(tmp_path, monkeypatch):
    save_backbone(tmp_path / "backbone")
    data = {
        "train": write_tsv(tmp_path / "train.tsv", make_rows(40, seed=1)),
        "dev": write_tsv(tmp_path / "dev.tsv", make_rows(20, seed=2)),
    }
    batches = []
    run_layers = FastBertForSequenceClassification.run_layers

    def counted(model, input_ids, *arguments):
        if model.backbone in model._frozen:
            batches.append(len(input_ids))
        return run_layers(model, input_ids, *arguments)

    monkeypatch.setattr(FastBertForSequenceClassification, "run_layers", counted)

    def distilled(name):
        batches.clear()
        phases = {"finetune": PhaseOptions(1, 1e-3), "distill": PhaseOptions(3, 1e-3)}
        report = train(TrainOptions(str(tmp_path / "backbone"), tmp_path / name, batch_size=8, **data, **phases))
        return report.phases[-1].exit_divergence, sum(batches)

    kept, rows_kept = distilled("kept")
    monkeypatch.setattr(FrozenOutputs, "open", lambda *arguments, **options: None)
    repeated, rows_repeated = distilled("repeated")
    assert rows_kept == 40 + 20
    assert rows_repeated == 3 * (40 + 20) + 20
    assert kept == pytest.approx(repeated, rel=1e-3)
