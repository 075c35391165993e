import json
import signal
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from support.factories import make_classifier, make_rows, save_backbone, write_tsv
from support.processes import forked, run_command, train_until_killed
from transformers import Trainer

from fastbert.checkpoint import load_checkpoint, start_from
from fastbert.configuration import ExitHeadConfig
from fastbert.export import export_bundle
from fastbert.files.claims import Claim
from fastbert.runtime.errors import CheckpointError, DataError, OutputExistsError, UsageError
from fastbert.runtime.manifest import file_record
from fastbert.training import PhaseOptions, TrainOptions, run, train
from fastbert.training.resume import open_work_directory

SHORT = PhaseOptions(1, 1e-3)


@pytest.fixture
def options(tmp_path):
    save_backbone(tmp_path / "backbone")
    return TrainOptions(
        model=str(tmp_path / "backbone"),
        output=tmp_path / "model",
        train=write_tsv(tmp_path / "train.tsv", make_rows(48, seed=1)),
        dev=write_tsv(tmp_path / "dev.tsv", make_rows(32, seed=2)),
        max_length=40,
        batch_size=16,
        finetune=PhaseOptions(2, 1e-3),
        distill=PhaseOptions(2, 1e-3),
        exit_head=ExitHeadConfig(size=16),
    )


def test_both_phases_give_a_checkpoint_that_exports(options, tmp_path):
    report = train(options)
    assert [(phase.phase, phase.steps) for phase in report.phases] == [("finetune", 6), ("distill", 6)]
    assert (report.train_rows, report.dev_rows, report.labels) == (48, 32, ("negative", "neutral", "positive"))
    assert all(len(phase.exit_accuracy) == 2 for phase in report.phases)
    checkpoint = load_checkpoint(options.output)
    assert checkpoint.model.config.distilled
    assert len(checkpoint.sample_rows) == 32
    assert checkpoint.training["phases"][1]["steps"] == 6
    digests = {use: [file_record(getattr(options, use))["sha256"]] for use in ("train", "dev")}
    assert checkpoint.training["data"] == digests
    assert not (tmp_path / "model.training").exists()
    assert export_bundle(options.output, tmp_path / "bundle").verifications[0].problems == []


def test_a_shallow_model_has_one_exit(options, tmp_path, caplog):
    """The backbone's first layer, fine-tuned; its bundle has the one exit."""
    report = train(replace(options, phase="finetune", layers=1))
    assert [phase.phase for phase in report.phases] == ["finetune"]
    assert "beyond those of config.json" not in caplog.text  # the second layer was cut off on purpose
    checkpoint = load_checkpoint(options.output)
    assert (checkpoint.model.config.num_exits, checkpoint.training["options"]["layers"]) == (1, 1)
    export_bundle(options.output, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (manifest["layers"], manifest["exits"]) == (1, [0])
    again = replace(options, model=str(options.output), output=tmp_path / "again", phase="finetune", layers=2)
    with pytest.raises(UsageError, match="`layers` is 2, but .*model is a FastBERT checkpoint with 1. Start from"):
        train(again)


def test_the_first_layers_are_kept(options):
    kept = start_from(options.model, labels=["a", "b"], exit_head=None, max_length=40, keep_classifier=False, layers=1)
    whole = start_from(options.model, labels=["a", "b"], exit_head=None, max_length=40, keep_classifier=False)
    backbone = whole.backbone.state_dict()
    assert all(torch.equal(value, backbone[name]) for name, value in kept.backbone.state_dict().items())
    assert 0 < len(kept.backbone.state_dict()) < len(backbone)


def test_distillation_changes_only_the_student_exits_and_brings_them_closer(options, tmp_path):
    first = train(replace(options, phase="finetune"))
    before = load_checkpoint(options.output).model
    assert not before.config.distilled
    second = train(replace(options, phase="distill", model=str(options.output), output=tmp_path / "distilled"))
    after = load_checkpoint(tmp_path / "distilled").model
    for name, value in before.state_dict().items():
        student = name.startswith("exits.0")
        assert torch.equal(value, after.state_dict()[name]) != student, name
    assert second.phases[0].exit_divergence[0] < first.phases[0].exit_divergence[0]
    assert second.phases[0].exit_accuracy[-1] == first.phases[0].exit_accuracy[-1]


def test_the_measure_is_written_to_the_checkpoint_and_may_change_with_the_next_training(options, tmp_path):
    options = replace(options, finetune=SHORT, distill=SHORT)
    train(replace(options, uncertainty="margin"))
    for asked, written in ((None, "margin"), ("entropy", "entropy")):
        again = replace(options, phase="distill", model=str(options.output), exit_head=None, uncertainty=asked)
        train(replace(again, output=tmp_path / written))
        checkpoint = load_checkpoint(tmp_path / written)
        assert checkpoint.model.config.uncertainty == checkpoint.training["options"]["uncertainty"] == written


def test_the_same_seed_gives_the_same_weights(options, tmp_path):
    options = replace(options, finetune=SHORT, distill=SHORT)
    train(options)
    train(replace(options, output=tmp_path / "again"))
    one, two = (load_checkpoint(path).model.state_dict() for path in (options.output, tmp_path / "again"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_classifier_is_the_teacher_and_is_distilled_on_unlabelled_text_alone(tmp_path):
    classifier = save_backbone(tmp_path / "classifier", classifier=3)
    unlabeled = write_tsv(tmp_path / "texts.tsv", make_rows(40, seed=1), labels=False)
    report = train(
        TrainOptions(
            model=str(tmp_path / "classifier"),
            output=tmp_path / "model",
            unlabeled=(unlabeled,),
            phase="distill",
            max_length=40,
            distill=SHORT,
            exit_head=ExitHeadConfig(size=16),
        )
    )
    assert report.phases[0].exit_accuracy is None
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
def test_a_run_killed_in_each_phase_resumes_and_ends_with_the_same_steps(options, tmp_path):
    for phase, resume in (("finetune", False), ("distill", True)):
        arguments = {"phase": phase, "step": 5, "resume": resume}
        child = forked.Process(target=train_until_killed, args=(options,), kwargs=arguments)
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL
        assert (tmp_path / "model.training" / phase / "checkpoint-3" / "trainer_state.json").exists()
        assert not options.output.exists()
        with pytest.raises(OutputExistsError, match="Continue it with `resume`, or use `overwrite`"):
            train(options)
    with pytest.raises(UsageError, match="other options .*batch_size"):
        train(replace(options, batch_size=8), resume=True)
    report = train(options, resume=True)
    assert [phase.steps for phase in report.phases] == [6, 6]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model"]


@pytest.mark.slow
def test_two_processes_share_the_steps(options, tmp_path):
    arguments = ["train", options.model, "--train", options.train, "--dev", options.dev, "--output", tmp_path / "model"]
    quick = ["--max-length", 40, "--epochs", 1, "--distill-epochs", 1, "--exit-size", 16, "--batch-size", 8, "--json"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1]), "WORLD_SIZE": "2"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), **address} for rank in range(2)]  # as torchrun sets them
    children = [
        forked.Process(target=run_command, args=([*arguments, *quick], rank, tmp_path / f"stdout-{rank['RANK']}"))
        for rank in ranks
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert [phase["steps"] for phase in json.loads((tmp_path / "stdout-0").read_text())["phases"]] == [3, 3]
    assert (tmp_path / "stdout-1").read_text() == ""
    assert load_checkpoint(tmp_path / "model").model.config.distilled


def test_without_dev_rows_are_held_out(options, caplog):
    report = train(replace(options, dev=None, phase="finetune", finetune=SHORT))
    assert (report.train_rows, report.dev_rows) == (44, 4)
    assert "4 of 48 training rows are held out" in caplog.text


def test_a_failed_run_is_kept_only_if_it_can_be_resumed(options, tmp_path, monkeypatch, caplog):
    def stops(when):
        def evaluate(self, *arguments, **keywords):
            if self.state.global_step >= when:
                raise KeyboardInterrupt
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(Trainer, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            train(options)

    original = Trainer.evaluate
    stops(when=3)  # the end of the first epoch, ahead of its checkpoint
    assert not (tmp_path / "model.training").exists()
    stops(when=6)
    assert f"kept in {tmp_path / 'model.training'}. Continue it with `resume`" in caplog.text
    monkeypatch.setattr(Trainer, "evaluate", original)
    assert [phase.steps for phase in train(options, resume=True).phases] == [6, 6]


@pytest.mark.parametrize("damaged", ["trainer_state.json", "optimizer.pt"])
def test_resume_skips_a_damaged_checkpoint(options, tmp_path, monkeypatch, damaged):
    def stop(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "predict", stop)
        train(options)
    last = tmp_path / "model.training" / "finetune" / "checkpoint-6"
    (last / "trainer_state.json").write_text("{")  # written last, so a kill leaves none or half of it
    if damaged == "optimizer.pt":
        (last / "trainer_state.json").unlink()
        (last / damaged).write_bytes((last / damaged).read_bytes()[:100])
    assert [phase.steps for phase in train(options, resume=True).phases] == [6, 6]


def test_a_diverged_model_is_refused(options, tmp_path):
    with pytest.raises(CheckpointError, match="diverged in the phase finetune.*lower learning rate"):
        train(replace(options, finetune=PhaseOptions(2, 1e30)))
    assert not options.output.exists()


def test_max_train_rows_and_unlabeled_files_are_counted(options, tmp_path):
    texts = write_tsv(tmp_path / "more.tsv", make_rows(24, seed=5), labels=False)
    report = train(replace(options, max_train_rows=40, unlabeled=(texts,), finetune=SHORT, distill=SHORT))
    assert (report.train_rows, report.unlabeled_rows) == (40, 24)
    assert [phase.steps for phase in report.phases] == [3, 4]


def test_an_existing_output_is_refused_before_any_work(options):
    options.output.mkdir()
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        train(options)


def test_labels_of_unlabelled_texts_are_ignored_and_those_of_dev_must_be_the_classifiers(tmp_path):
    save_backbone(tmp_path / "classifier", "bert", classifier=3)
    texts, dev = tmp_path / "texts.jsonl", tmp_path / "dev.tsv"
    texts.write_text('{"text": "good", "label": "x"}\n{"text": "bad", "label": null}\n{"text": "dull", "label": 0.5}\n')
    dev.write_text("label\ttext\n0 \tgood\n2\tbad\n")
    options = TrainOptions(
        model=str(tmp_path / "classifier"),
        output=tmp_path / "model",
        unlabeled=(texts,),
        dev=dev,
        phase="distill",
        max_length=16,
        distill=SHORT,
        exit_head=ExitHeadConfig(size=16),
    )
    report = train(options)
    assert (report.unlabeled_rows, report.dev_rows, report.phases[0].exit_accuracy is None) == (3, 2, False)
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
        (replace(options, phase="distill"), CheckpointError, "Exits are distilled from a trained classifier"),
        (replace(options, layers=3), UsageError, "`layers` is 3; .*backbone has only 2"),
        (replace(options, max_length=99), CheckpointError, "`max_length` is 99; .* has only 66 positions"),
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
        ({"phase": "three"}, "`phase` is 'three'; use finetune, distill, both"),
        ({"label_share": 1.5}, "`label_share` is 1.5; it must be from 0 to 1"),
        ({"kl": "sideways"}, "`kl` is 'sideways'; use forward, reverse"),
        ({"train": None}, "`train` is missing"),
        ({"precision": "int3"}, "`precision` is 'int3'; use fp32, fp16, bf16"),
        ({"layers": 0}, "`layers` is 0; it must be greater than 0"),
        ({"layers": 1, "phase": "distill"}, "`layers` cuts the last exit off"),
        ({"batch_size": 0}, "`batch_size` is 0; it must be greater than 0"),
        ({"finetune": PhaseOptions(float("nan"), 1e-3)}, "`epochs` is nan"),
        ({"distill": PhaseOptions(1, -1.0)}, "`distill_learning_rate` is -1"),
        ({"seed": -1}, "`seed` is -1"),
        ({"uncertainty": "energy"}, "`uncertainty` is 'energy'; use entropy or margin"),
    ],
)
def test_bad_options_are_refused(options, change, message):
    with pytest.raises(UsageError, match=message):
        replace(options, **change)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage", "three"], "'three'"),  # accepted and passed on: the name that --phase once had
        (["--phase", "three", "--stage", "three"], "'three'"),
        (["--phase", "both", "--stage", "distill"], "--stage is the old name of --phase: they are distill and both"),
    ],
)
def test_the_old_name_of_phase_still_works(run_cli, tmp_path, flags, message):
    code, out, err = run_cli("train", "model", "--train", "rows.tsv", "--output", tmp_path / "out", *flags)
    assert (code, out) == (2, "")
    assert message in err


def test_an_unknown_family_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="'gpt2'; fastbert supports bert, ernie, roberta"):
        train(
            TrainOptions(
                model=str(tmp_path / "gpt"),
                output=Path(tmp_path / "out"),
                train=write_tsv(tmp_path / "t.tsv", make_rows(9)),
            )
        )


def test_a_directory_of_the_user_is_not_mistaken_for_a_run(options, tmp_path):
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
def test_a_running_run_keeps_its_work(options, tmp_path, again):
    work = open_work_directory(options, overwrite=False, resume=False, prepare=True)
    (work / "finetuned").mkdir()
    claim = Claim(work)
    with pytest.raises(OutputExistsError, match="Another run uses"):
        train(options, **again)
    claim.release()
    assert sorted(path.name for path in work.iterdir()) == ["finetuned", "options.json"]


def test_a_run_into_the_working_directory(options, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train(replace(options, output=Path("."), finetune=SHORT, distill=SHORT))
    assert load_checkpoint(tmp_path / "here").training["phases"]
    assert sorted(path.name for path in tmp_path.glob("*here*")) == ["here"]


def test_a_full_disk_in_training_is_named(options, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(run, "run_phase", full)
    monkeypatch.setattr("fastbert.files.disk._free_bytes", lambda _: 0)
    with pytest.raises(OSError, match="No space left on device"):
        train(options)


@pytest.mark.parametrize("phase", ["both", "distill"])
def test_a_model_of_one_layer_has_nothing_to_distil(phase, options, tmp_path):
    make_classifier(tmp_path / "classifier", num_hidden_layers=1)
    asked = replace(options, model=str(tmp_path / "classifier"))
    with pytest.raises(UsageError, match=r"has one layer.*`phase` must be finetune"):
        train(replace(asked, phase=phase))
    assert not (tmp_path / "model.training").exists()


@pytest.mark.parametrize("content", ["", "{", "null", "[1]", '"x"', "[" * 100000])
def test_damaged_options_of_a_stopped_run_are_refused(content, options, tmp_path):
    (tmp_path / "model.training").mkdir()
    (tmp_path / "model.training" / "options.json").write_text(content)
    with pytest.raises(UsageError, match=r"options\.json is damaged.*`overwrite`"):
        train(options, resume=True)


def test_an_option_that_a_stopped_run_lacks_is_compared_too(options, tmp_path):
    (tmp_path / "model.training").mkdir()
    asked = json.loads(json.dumps(asdict(options), default=str))
    del asked["tokenizer"]  # as if written by an older version
    (tmp_path / "model.training" / "options.json").write_text(json.dumps(asked))
    with pytest.raises(UsageError, match=r"other options \(tokenizer;"):
        train(replace(options, tokenizer=options.model), resume=True)
