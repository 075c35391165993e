import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from importing.test_huggingface import make_classifier
from support.factories import make_rows, save_backbone, write_tsv
from transformers import Trainer

from fastbert.checkpoint import load_checkpoint
from fastbert.configuration import ExitHeadConfig
from fastbert.export import export_bundle
from fastbert.families import FAMILIES
from fastbert.files.claims import Claim
from fastbert.runtime.errors import CheckpointError, DataError, OutputExistsError, UsageError
from fastbert.training import run as training
from fastbert.training.run import StageOptions, TrainOptions, train


@pytest.fixture
def options(tmp_path):
    save_backbone(tmp_path / "backbone")
    return TrainOptions(
        model=str(tmp_path / "backbone"),
        output=tmp_path / "model",
        train=write_tsv(tmp_path / "train.tsv", make_rows(96, seed=1)),
        dev=write_tsv(tmp_path / "dev.tsv", make_rows(32, seed=2)),
        max_length=40,
        batch_size=16,
        finetune=StageOptions(2, 1e-3),
        distill=StageOptions(2, 1e-3),
        exit_head=ExitHeadConfig(size=16),
    )


def test_both_stages_give_a_checkpoint_that_exports(options, tmp_path):
    report = train(options)
    assert [(stage.stage, stage.steps) for stage in report.stages] == [("finetune", 12), ("distill", 12)]
    assert (report.train_rows, report.dev_rows, report.labels) == (96, 32, ("negative", "neutral", "positive"))
    assert all(len(stage.exit_accuracy) == 2 for stage in report.stages)
    checkpoint = load_checkpoint(options.output)
    assert checkpoint.model.config.distilled
    assert len(checkpoint.sample_rows) == 32
    assert checkpoint.training["stages"][1]["steps"] == 12
    assert not (tmp_path / "model.training").exists()
    assert export_bundle(options.output, tmp_path / "bundle").verifications[0].problems == []


def test_stage_2_leaves_backbone_and_teacher_alone_and_brings_the_exits_closer(options, tmp_path):
    first = train(replace(options, stage="finetune"))
    before = load_checkpoint(options.output).model
    assert not before.config.distilled
    second = train(replace(options, stage="distill", model=str(options.output), output=tmp_path / "distilled"))
    after = load_checkpoint(tmp_path / "distilled").model
    for name, value in before.state_dict().items():
        student = name.startswith("exits.0")
        assert torch.equal(value, after.state_dict()[name]) != student, name
    assert second.stages[0].exit_divergence[0] < first.stages[0].exit_divergence[0]
    assert second.stages[0].exit_accuracy[-1] == first.stages[0].exit_accuracy[-1]


def test_the_same_seed_gives_the_same_weights(options, tmp_path):
    train(options)
    train(replace(options, output=tmp_path / "again"))
    one, two = (load_checkpoint(path).model.state_dict() for path in (options.output, tmp_path / "again"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_is_kept_as_the_teacher_and_distilled_on_unlabelled_text_only(family, tmp_path):
    classifier = save_backbone(tmp_path / "classifier", family, classifier=3)
    unlabeled = write_tsv(tmp_path / "texts.tsv", make_rows(40, seed=1), labels=False)
    report = train(
        TrainOptions(
            model=str(tmp_path / "classifier"),
            output=tmp_path / "model",
            unlabeled=(unlabeled,),
            stage="distill",
            max_length=40,
            distill=StageOptions(1, 1e-3),
            exit_head=ExitHeadConfig(size=16),
        )
    )
    assert report.stages[0].exit_accuracy is None
    assert report.labels == ("0", "1", "2")
    model = load_checkpoint(tmp_path / "model").model
    ids = torch.randint(4, 24, (6, 11), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(11) < torch.tensor([11, 9, 3, 5, 11, 2])[:, None]).long()
    ids = torch.where(mask == 1, ids, model.config.backbone_config.pad_token_id)
    with torch.no_grad():
        expected = classifier(ids, attention_mask=mask).logits
        assert torch.allclose(model(ids, mask).logits, expected, atol=1e-5)
    assert export_bundle(tmp_path / "model", tmp_path / "bundle").verifications[0].problems == []


@pytest.mark.slow
@pytest.mark.parametrize("until", ["finetune/checkpoint-6", "distill/checkpoint-6"])
def test_killed_and_resumed_ends_with_the_same_steps(options, tmp_path, until):
    script = textwrap.dedent(
        """
        import pickle, sys, time
        from pathlib import Path
        import transformers
        from fastbert.training.run import train
        class Slow(transformers.TrainerCallback):
            def on_step_end(self, *_, **__):
                time.sleep(0.05)
        make = transformers.Trainer.__init__
        def patched(self, **arguments):
            make(self, **arguments)
            self.add_callback(Slow)
        transformers.Trainer.__init__ = patched
        train(pickle.loads(Path(sys.argv[1]).read_bytes()))
        """
    )
    import pickle
    import time

    (tmp_path / "options").write_bytes(pickle.dumps(options))
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path / "options"], stderr=subprocess.DEVNULL)
    reached = tmp_path / "model.training" / until / "trainer_state.json"
    deadline = time.monotonic() + 120
    while not reached.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert reached.exists()
    assert not options.output.exists()
    with pytest.raises(OutputExistsError, match="--resume"):
        train(options)
    with pytest.raises(UsageError, match="other options .*batch_size"):
        train(replace(options, batch_size=8), resume=True)
    report = train(options, resume=True)
    assert [stage.steps for stage in report.stages] == [12, 12]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model"]


@pytest.mark.slow
def test_two_processes_share_the_steps(options, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "fastbert.cli", "train"]
    arguments = ["--train", options.train, "--dev", options.dev, "--output", tmp_path / "model", "--max-length", "40"]
    quick = ["--epochs", "1", "--distill-epochs", "1", "--exit-size", "16", "--batch-size", "8", "--json"]
    done = subprocess.run(
        [*launch, options.model, *arguments, *quick],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=True,
    )
    assert [stage["steps"] for stage in json.loads(done.stdout)["stages"]] == [6, 6]
    assert load_checkpoint(tmp_path / "model").model.config.distilled


def test_without_dev_rows_are_held_out(options, caplog):
    report = train(replace(options, dev=None, stage="finetune", finetune=StageOptions(1, 1e-3)))
    assert (report.train_rows, report.dev_rows) == (87, 9)
    assert "9 of 96 training rows are held out" in caplog.text


def test_a_run_that_fails_is_kept_only_when_there_is_something_to_resume(options, tmp_path, monkeypatch, caplog):
    def stops(when):
        def evaluate(self, *arguments, **keywords):
            if self.state.global_step >= when:
                raise KeyboardInterrupt
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(Trainer, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            train(options)

    original = Trainer.evaluate
    stops(when=6)  # the end of the first epoch, ahead of its checkpoint
    assert not (tmp_path / "model.training").exists()
    stops(when=12)
    assert f"kept in {tmp_path / 'model.training'}. Go on with --resume" in caplog.text
    monkeypatch.setattr(Trainer, "evaluate", original)
    assert [stage.steps for stage in train(options, resume=True).stages] == [12, 12]


@pytest.mark.parametrize("half", ["trainer_state.json", "optimizer.pt"])
def test_resume_passes_over_half_a_checkpoint(options, tmp_path, monkeypatch, half):
    def stop(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "predict", stop)
        train(options)
    last = tmp_path / "model.training" / "finetune" / "checkpoint-12"
    (last / "trainer_state.json").write_text("{")  # written last, so a kill before leaves none or half of it
    if half == "optimizer.pt":
        (last / "trainer_state.json").unlink()
        (last / half).write_bytes((last / half).read_bytes()[:100])
    assert [stage.steps for stage in train(options, resume=True).stages] == [12, 12]


def test_a_model_that_diverged_is_no_result(options, tmp_path):
    with pytest.raises(CheckpointError, match="finetune stage diverged.*lower learning rate"):
        train(replace(options, finetune=StageOptions(2, 1e30)))
    assert not options.output.exists()


def test_max_train_rows_and_unlabeled_files_are_counted(options, tmp_path):
    texts = write_tsv(tmp_path / "more.tsv", make_rows(24, seed=5), labels=False)
    short = StageOptions(1, 1e-3)
    report = train(replace(options, max_train_rows=40, unlabeled=(texts,), finetune=short, distill=short))
    assert (report.train_rows, report.unlabeled_rows) == (40, 24)
    assert [stage.steps for stage in report.stages] == [3, 4]


def test_an_existing_output_is_refused_before_any_work(options):
    options.output.mkdir()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        train(options)


def test_labels_of_unlabelled_texts_are_not_looked_at_and_those_of_dev_are_a_classifiers(tmp_path):
    save_backbone(tmp_path / "classifier", "bert", classifier=3)
    texts, dev = tmp_path / "texts.jsonl", tmp_path / "dev.tsv"
    texts.write_text('{"text": "good", "label": "x"}\n{"text": "bad", "label": null}\n{"text": "dull", "label": 0.5}\n')
    dev.write_text("label\ttext\n0 \tgood\n2\tbad\n")
    options = TrainOptions(
        model=str(tmp_path / "classifier"),
        output=tmp_path / "model",
        unlabeled=(texts,),
        dev=dev,
        stage="distill",
        max_length=16,
        distill=StageOptions(1, 1e-3),
        exit_head=ExitHeadConfig(size=16),
    )
    report = train(options)
    assert (report.unlabeled_rows, report.dev_rows, report.stages[0].exit_accuracy is None) == (3, 2, False)
    dev.write_text("label\ttext\n0\tgood\n7\tbad\n")
    with pytest.raises(DataError, match=r"dev\.tsv, row 2: the label '7' is not among those trained on: 0, 1, 2"):
        train(replace(options, output=tmp_path / "other"))


def test_bad_input_leaves_nothing(options, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    other = write_tsv(tmp_path / "other.tsv", [replace(make_rows(1)[0], label="unheard")])
    one_class = tmp_path / "one.tsv"
    one_class.write_text("label\ttext\nx\ta\nx\tb\n")
    cases = [
        (replace(options, dev=other), DataError, "'unheard' is not among"),
        (replace(options, train=one_class), DataError, "only the label 'x'"),
        (replace(options, model=str(tmp_path / "nowhere")), CheckpointError, "no config.json|could not be read"),
        (replace(options, stage="distill"), CheckpointError, "Exits are distilled from a trained classifier"),
        (replace(options, max_length=99), CheckpointError, "beyond the 66 positions"),
    ]
    for bad, error, message in cases:
        with pytest.raises(error, match=message):
            train(bad)
    one_class.unlink()
    other.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "three"}, "finetune, distill, both"),
        ({"label_share": 1.5}, "outside"),
        ({"kl": "sideways"}, "forward or reverse"),
        ({"train": None}, "--train"),
        ({"precision": "int3"}, "fp32, fp16 or bf16"),
        ({"batch_size": 0}, "--batch-size is 0; it must be greater than 0"),
        ({"finetune": StageOptions(float("nan"), 1e-3)}, "--epochs is nan"),
        ({"distill": StageOptions(1, -1.0)}, "--distill-learning-rate is -1"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_bad_options_are_refused(options, change, message):
    with pytest.raises(UsageError, match=message):
        replace(options, **change)


def test_an_unknown_family_lists_the_known(tmp_path):
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="'gpt2'; fastbert knows bert, ernie, roberta"):
        train(
            TrainOptions(
                model=str(tmp_path / "gpt"),
                output=Path(tmp_path / "out"),
                train=write_tsv(tmp_path / "t.tsv", make_rows(9)),
            )
        )


def test_a_directory_of_the_users_is_not_taken_for_a_runs(options, tmp_path):
    mine = tmp_path / "model.training"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="in the way"):
            train(options, overwrite=overwrite)
    assert (mine / "thesis.txt").read_text() == "mine"
    (mine / "thesis.txt").unlink()
    mine.rmdir()
    mine.symlink_to(tmp_path)
    with pytest.raises(OutputExistsError, match="in the way"):
        train(options, overwrite=True)


@pytest.mark.parametrize("again", [{}, {"overwrite": True}, {"resume": True}])
def test_another_run_that_lives_keeps_its_work(options, tmp_path, again):
    work = training._work_directory(options, overwrite=False, resume=False, prepare=True)
    (work / "finetuned").mkdir()
    claim = Claim(work)
    with pytest.raises(OutputExistsError, match="Another run trains in"):
        train(options, **again)
    claim.release()
    assert sorted(path.name for path in work.iterdir()) == ["finetuned", "options.json"]


def test_a_run_into_the_working_directory(options, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train(replace(options, output=Path(".")))
    assert load_checkpoint(tmp_path / "here").training["stages"]
    assert sorted(path.name for path in tmp_path.glob("*here*")) == ["here"]


def test_a_full_disk_in_training_is_named(options, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(training, "_run_stage", full)
    monkeypatch.setattr("fastbert.files.atomic._free_bytes", lambda _: 0)
    with pytest.raises(OSError, match="No space left on device"):
        train(options)


@pytest.mark.parametrize("stage", ["both", "distill"])
def test_a_model_of_one_layer_has_nothing_to_distil(stage, options, tmp_path):
    make_classifier(tmp_path / "classifier", num_hidden_layers=1)
    asked = replace(options, model=str(tmp_path / "classifier"))
    with pytest.raises(UsageError, match=r"has one layer.*--stage finetune"):
        train(replace(asked, stage=stage))
    assert not (tmp_path / "model.training").exists()


@pytest.mark.parametrize("content", ["", "{", "null", "[1]", '"x"', "[" * 100000])
def test_options_of_a_stopped_run_that_are_damaged_are_refused(content, options, tmp_path):
    (tmp_path / "model.training").mkdir()
    (tmp_path / "model.training" / "options.json").write_text(content)
    with pytest.raises(UsageError, match=r"options\.json is damaged.*--overwrite"):
        train(options, resume=True)


def test_an_option_that_the_stopped_run_did_not_know_is_compared_too(options, tmp_path):
    (tmp_path / "model.training").mkdir()
    asked = json.loads(json.dumps(asdict(options), default=str))
    del asked["tokenizer"]  # as an older version wrote it
    (tmp_path / "model.training" / "options.json").write_text(json.dumps(asked))
    with pytest.raises(UsageError, match=r"other options \(tokenizer;"):
        train(replace(options, tokenizer=options.model), resume=True)
