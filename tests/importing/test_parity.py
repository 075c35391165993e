"""Checkpoints that the original programs wrote, and their answers.

These files are not distributed. FASTBERT_PARITY names their directory; by default it is looked for beside the checkout.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fastbert.checkpoint import load_checkpoint
from fastbert.export import ExportOptions, export_bundle
from fastbert.importing import ImportReport, import_checkpoint
from fastbert.runtime import Classifier

PARITY = Path(os.environ.get("FASTBERT_PARITY") or Path(__file__).resolve().parents[3] / "shared" / "parity")
SPEEDS = (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)
TOLERANCE = 1e-4
MARGIN = 1e-4  # an uncertainty this near to the speed may fall on either side
SHARE = 4  # the bundle's logits and ids are compared for every text; the rest for every fourth

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="needs checkpoints of the original programs; FASTBERT_PARITY names their directory"
)


@dataclass(frozen=True)
class Case:
    """An imported checkpoint and the answers of its program.

    ``types``: int64 [texts, sequence], the token types. ``logits``: float32 [texts, layers, classes].
    ``layer``, ``label`` and ``margin`` (how far the uncertainty is from the speed): [texts], by speed.
    """

    report: ImportReport
    bundle: Path
    texts: list[str]
    ids: np.ndarray
    mask: np.ndarray
    types: np.ndarray
    logits: np.ndarray
    layer: dict[float, np.ndarray]
    label: dict[float, np.ndarray]
    margin: dict[float, np.ndarray]


def _rows(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def _export(report, texts, folder):
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[::SHARE]), encoding="utf-8")
    export_bundle(report.output, folder / "bundle", ExportOptions(verify_data=data))
    return folder / "bundle"


def _bitvoyage(folder):
    source = PARITY / "bitvoyage"
    report = import_checkpoint(
        source / "tiny_stage1" / "Epoch_2.bin",
        config=source / "configs" / "fastbert_cls_tiny.json",
        bert_config=source / "configs" / "bert_config_tiny.json",
        vocab=source / "vocab.txt",
        output=folder / "model",
    )
    golden = np.load(source / "golden_tiny_b1.npz")
    texts = [row["text"] for row in _rows(source / "texts.jsonl")]
    mask = (np.arange(golden["input_ids"].shape[1]) < golden["lengths"][:, None]).astype(np.int64)
    last = golden["all_logits"].shape[1] - 1  # a text that is never certain gets the last layer's answer
    certain = {speed: golden[f"certain@{speed}"] for speed in SPEEDS}
    final = golden["all_logits"][:, last].argmax(-1)
    return Case(
        report,
        _export(report, texts, folder),
        texts,
        golden["input_ids"] * mask,
        mask,
        np.zeros_like(mask),
        golden["all_logits"],
        {speed: np.where(certain[speed], golden[f"exit_layer@{speed}"], last) for speed in SPEEDS},
        {speed: np.where(certain[speed], golden[f"label@{speed}"], final) for speed in SPEEDS},
        {speed: golden[f"margin@{speed}"] for speed in SPEEDS},
    )


def _uer(folder):
    source = PARITY / "uer"
    report = import_checkpoint(
        source / "fastbert_uer_tiny.bin",
        config=source / "uer_tiny_kernel.json",
        vocab=PARITY / "bitvoyage" / "vocab.txt",
        labels=["neg", "pos"],
        output=folder / "model",
    )
    golden = np.load(source / "golden_uer.npz")
    texts = [row["text"] for row in _rows(source / "golden_uer.jsonl")]
    return Case(
        report,
        _export(report, texts, folder),
        texts,
        golden["input_ids"],
        (golden["mask"] > 0).astype(np.int64),
        golden["mask"],
        golden["all_logits"],
        {speed: golden[f"exec_layer_num@{speed}"] - 1 for speed in SPEEDS},
        {speed: golden[f"label_id@{speed}"] for speed in SPEEDS},
        {speed: golden[f"margin@{speed}"] for speed in SPEEDS},
    )


@pytest.fixture(scope="module")
def bitvoyage(tmp_path_factory):
    return _bitvoyage(tmp_path_factory.mktemp("bitvoyage"))


@pytest.fixture(scope="module")
def uer(tmp_path_factory):
    return _uer(tmp_path_factory.mktemp("uer"))


@pytest.fixture(scope="module", params=["bitvoyage", "uer"])
def case(request):
    return request.getfixturevalue(request.param)


def _largest_difference(found, case, rows):
    return float(np.abs(found - case.logits[rows]).max())


def test_pytorch_gives_the_golden_logits_in_batches_and_singly(case):
    model = load_checkpoint(case.report.output).model
    everything = (case.ids, case.mask, case.types)
    with torch.no_grad():
        for start in range(SHARE):
            rows = slice(start, None, SHARE**2)
            found = model(*(torch.from_numpy(array[rows]) for array in everything)).exit_logits.numpy()
            assert _largest_difference(found, case, rows) <= TOLERANCE
        for row in range(0, len(case.texts), SHARE):
            found = model(torch.from_numpy(case.ids[row : row + 1, : case.mask[row].sum()])).exit_logits.numpy()
            assert _largest_difference(found, case, slice(row, row + 1)) <= TOLERANCE


def test_the_bundle_gives_the_golden_logits_and_ids(case):
    classifier = Classifier.load(case.bundle)
    encoded = classifier.encode(case.texts)
    width = encoded.input_ids.shape[1]
    assert not case.mask[:, width:].any()
    assert np.array_equal(encoded.attention_mask, case.mask[:, :width])
    assert np.array_equal(encoded.input_ids, case.ids[:, :width])
    assert np.array_equal(encoded.token_type_ids, case.types[:, :width])
    found, _ = classifier.run_all_exits(case.ids, case.mask)
    assert _largest_difference(found, case, slice(None)) <= TOLERANCE


@pytest.mark.parametrize("speed", SPEEDS)
def test_labels_and_exit_layers_match_the_original(case, speed):
    classifier = Classifier.load(case.bundle)
    clear = case.margin[speed][::SHARE] >= MARGIN
    assert clear.sum() > len(clear) / 2
    from_ids = classifier.run(case.ids[::SHARE], case.mask[::SHARE], case.types[::SHARE], speed=speed)
    from_text = classifier.predict(case.texts[::SHARE], speed=speed)
    layers = (from_ids.exit_layer, np.array([one.exit_layer for one in from_text]))
    labels = (from_ids.logits.argmax(-1), np.array([classifier.labels.index(one.label) for one in from_text]))
    for found in layers:
        assert np.array_equal(found[clear], case.layer[speed][::SHARE][clear])
    for found in labels:
        assert np.array_equal(found[clear], case.label[speed][::SHARE][clear])


def test_pairs_of_the_authors_code(uer):
    golden = np.load(PARITY / "uer" / "golden_uer.npz")
    ids, types = golden["pair_input_ids"], golden["pair_mask"]
    found, _ = Classifier.load(uer.bundle).run_all_exits(ids, (types > 0).astype(np.int64), types)
    assert np.abs(found - golden["pair_all_logits"]).max() <= TOLERANCE


def test_the_scripts_layout_gives_the_same_model(tmp_path):
    source = PARITY / "uer"
    state = torch.load(source / "fastbert_uer_tiny.bin", weights_only=True)
    kept = {name.removeprefix("kernel."): value for name, value in state.items() if ".target." not in name}
    torch.save(kept, tmp_path / "fastbert.bin")
    files = {"config": source / "uer_tiny_kernel.json", "vocab": PARITY / "bitvoyage" / "vocab.txt"}
    import_checkpoint(tmp_path / "fastbert.bin", output=tmp_path / "script", **files)
    import_checkpoint(source / "fastbert_uer_tiny.bin", output=tmp_path / "package", **files)
    script, package = (load_checkpoint(tmp_path / name) for name in ("script", "package"))
    for name, value in package.model.state_dict().items():
        assert torch.equal(script.model.state_dict()[name], value)
    assert script.tokenizer("很好 good")["input_ids"] == package.tokenizer("很好 good")["input_ids"]


def test_a_checkpoint_before_distillation_is_recognised(tmp_path, caplog):
    source = PARITY / "bitvoyage"
    state = torch.load(source / "tiny_stage1" / "Epoch_2.bin", weights_only=True)
    state.update(torch.load(source / "stage0_overlay.bin", weights_only=True))
    torch.save(state, tmp_path / "Epoch_4.bin")
    report = import_checkpoint(
        tmp_path / "Epoch_4.bin",
        config=source / "configs" / "fastbert_cls_tiny.json",
        vocab=source / "vocab.txt",
        output=tmp_path / "model",
    )
    assert report.undistilled_exits == (0, 1, 2, 3, 4)
    assert "exits after layers 0, 1, 2, 3, 4 of" in caplog.text and "never distilled" in caplog.text
    assert not load_checkpoint(tmp_path / "model").model.config.distilled
