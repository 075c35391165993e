"""Golden rows through the C library: the answers are Python's, bit for bit, with the same ONNX Runtime."""

import numpy as np
import pytest

from fastbert.families import FAMILIES
from fastbert.runtime import Classifier

SPEEDS = (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)


def golden(bundle):
    with np.load(bundle / "golden.npz") as arrays:
        return [arrays[name] for name in ("input_ids", "attention_mask", "token_type_ids")]


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.exit_layer, expected.exit_layer)
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)


@pytest.mark.parametrize(("family", "variant"), [*((family, "fp32") for family in FAMILIES), ("bert", "int8")])
def test_golden_rows(family_bundle, open_session, family, variant):
    bundle = family_bundle(family)
    session, classifier = open_session(bundle, variant=variant), Classifier.load(bundle, variant=variant, threads=1)
    ids, mask, types = golden(bundle)
    exits = set()
    for speed in SPEEDS:
        expected = classifier.run(ids, mask, types, speed=speed)
        exits |= set(expected.exit_layer.tolist())
        assert_equal(session.run(ids, mask, types, speed=speed), expected)
        narrow = [array.astype(np.int32) for array in (ids, mask, types)]
        assert_equal(session.run(*narrow, speed=speed), expected)
        for row in range(0, len(ids), 8):
            padded = [array[row : row + 1] for array in (ids, mask, types)]
            alone = [array[:, : int(mask[row].sum())] for array in padded]
            expected = classifier.run(*alone, speed=speed)
            assert_equal(session.run(*alone, speed=speed), expected)
            assert_equal(session.run(*padded, speed=speed), expected)
    assert len(exits) > 1  # so that something was compared at several depths


@pytest.mark.parametrize("options", [{"threads": 2}, {"batches": 1}, {"threads": 2, "batches": 1}], ids=str)
def test_other_engines(family_bundle, open_session, options):
    """Several threads run batches by the model of all stages; `batches` runs single rows by the stages."""
    bundle = family_bundle("bert")
    session = open_session(bundle, **options)
    classifier = Classifier.load(bundle, threads=options.get("threads", 1), batches=bool(options.get("batches")))
    ids, mask, types = golden(bundle)
    for speed in (0.0, 0.3, 1.0):
        assert_equal(session.run(ids, mask, types, speed=speed), classifier.run(ids, mask, types, speed=speed))
        one = [array[3:4] for array in (ids, mask, types)]
        assert_equal(session.run(*one, speed=speed), classifier.run(*one, speed=speed))


def test_defaults(family_bundle, open_session):
    """Of a mask: no padding; of types: default_token_type; of a speed: the bundle's."""
    bundle = family_bundle("roberta")
    session, classifier = open_session(bundle), Classifier.load(bundle, threads=1)
    ids = golden(bundle)[0][:4, :3]
    assert session.info.default_speed == classifier.manifest.default_speed
    assert_equal(session.run(ids), classifier.run(ids))
    assert_equal(session.run(ids[:1]), classifier.run(ids[:1]))


def test_rows_with_holes_and_few_tokens(family_bundle, open_session):
    """A mask may hide tokens between visible ones; then a row alone keeps its padding."""
    bundle = family_bundle("bert")
    session, classifier = open_session(bundle), Classifier.load(bundle, threads=1)
    ids = np.array([[1, 5, 6, 2], [1, 7, 2, 0], [1, 2, 0, 0]])
    mask = np.array([[1, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    for rows in (slice(0, 3), slice(0, 1), slice(2, 3)):
        assert_equal(session.run(ids[rows], mask[rows], speed=0.3), classifier.run(ids[rows], mask[rows], speed=0.3))


def test_no_rows(family_bundle, open_session):
    empty = np.zeros((0, 4), np.int64)
    assert open_session(family_bundle("bert")).run(empty).logits.shape == (0, 3)


def test_shapes_in_any_order(family_bundle, open_session):
    """Buffers are reused: a small batch after a large one, and the other way round, does not see what is left there."""
    bundle = family_bundle("bert")
    session, classifier = open_session(bundle), Classifier.load(bundle, threads=1)
    random = np.random.default_rng(0)
    for rows, sequence in [(9, 3), (2, 40), (1, 7), (30, 30), (1, 66), (3, 1), (40, 2), (2, 2), (1, 1)]:
        ids = random.integers(0, 24, (rows, sequence))
        mask = (np.arange(sequence) < random.integers(1, sequence + 1, (rows, 1))).astype(np.int64)
        assert_equal(session.run(ids, mask, speed=0.4), classifier.run(ids, mask, speed=0.4))


def test_what_a_model_tells(family_bundle, open_session):
    bundle = family_bundle("bert")
    session, manifest = open_session(bundle, variant="int8"), Classifier.load(bundle).manifest
    assert session.labels == list(manifest.labels)
    assert session.exits == list(manifest.exits)
    for field in ("layers", "max_length", "max_positions", "vocab_size", "type_vocab_size", "default_token_type"):
        assert getattr(session.info, field) == getattr(manifest, field), field
    assert session.info.pad_token_id == manifest.pad_token_id
    assert session.info.variant == b"int8"
    assert bool(session.info.has_text) == (session.info.text_problem is None)
