import numpy as np
import onnx
import onnxruntime

from fastbert.benchmarks.baselines.whole_model import join_stages


def test_the_whole_model_has_one_head_and_gives_the_last_exits_logits(bundle, classifier):
    model = join_stages(bundle, classifier.manifest.variant_for("cpu"))
    onnx.checker.check_model(model, full_check=True)
    names = [node.name for node in model.graph.node]
    assert not any("exit_00" in name or "exit_01" in name for name in names)
    assert sum("LogSoftmax" in name for name in names) == 0  # nor any uncertainty
    assert sum("layer_" in name for name in names) > 0
    encoded = classifier.encode(["good film", "bad " * 9])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = dict(zip([value.name for value in session.get_inputs()], arrays, strict=True))
    expected = classifier.run(*arrays, speed=0.0).logits
    assert np.allclose(session.run(None, inputs)[0], expected, atol=1e-5)


def test_with_every_exit_it_gives_what_the_chain_gives(bundle, classifier):
    model = join_stages(bundle, classifier.manifest.variant_for("cpu"), every_exit=True)
    onnx.checker.check_model(model, full_check=True)
    encoded = classifier.encode(["good film", "bad " * 9])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = dict(zip([value.name for value in session.get_inputs()], arrays, strict=True))
    logits, uncertainty = classifier.run_all_exits(*arrays)
    found = session.run(None, inputs)
    assert np.allclose(np.stack(found[::2], axis=1), logits, atol=1e-5)
    assert np.allclose(np.stack(found[1::2], axis=1), uncertainty, atol=1e-5)


def test_without_a_mask_a_row_is_answered_the_same(bundle, classifier):
    variant = classifier.manifest.variant_for("cpu")
    encoded = classifier.encode(["good film"])
    found = []
    for masked in (True, False):
        model = join_stages(bundle, variant, every_exit=True, masked=masked)
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = {value.name: getattr(encoded, value.name) for value in session.get_inputs()}
        assert ("attention_mask" in inputs) == masked
        found.append(session.run(None, inputs))
    for with_mask, without in zip(*found, strict=True):
        assert np.array_equal(with_mask, without)
