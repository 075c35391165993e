"""The chain on a device, on ONNX Runtime's CPU provider: the same code, buffers and compaction, real answers."""

import gc
import threading

import numpy as np
import pytest
from support.full_batches import check_full_batches

from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu import device_chain
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.manifest import read_manifest


def load(bundle, variant="fp16", **options):
    manifest = read_manifest(bundle)
    chosen = next(found for found in manifest.variants if found.name == variant)
    engine = onnxruntime_cuda.load(bundle, chosen, provider=onnxruntime_cuda.CPU, **options)
    return Classifier._from_engine(bundle, manifest, engine)


class CapturedSession:
    """A session that behaves as with CUDA graphs: a thread's first run of a number is replayed from then on."""

    def __init__(self, session):
        self._session, self._graphs = session, {}
        self.replays = 0

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run_with_iobinding(self, binding, options):
        number = (threading.get_ident(), options.get_run_config_entry("gpu_graph_id"))
        if number in self._graphs:
            self.replays += 1
        else:
            binding.bind_input = binding.bind_output = None  # a captured run is never bound again
            self._graphs[number] = binding
        self._session.run_with_iobinding(self._graphs[number])


def load_captured(bundle, **options):
    """Load with CUDA graphs as above, and check that every use of the device holds ``turn``."""
    found = load(bundle, cuda_graphs=True, **options)
    owner = found._engine._executor
    owner.sessions = {graph: CapturedSession(session) for graph, session in owner.sessions.items()}

    def in_turn(work):
        def guarded(*arguments):
            assert owner.turn.locked()
            return work(*arguments)

        return guarded

    uses = [(session, "run_with_iobinding") for session in owner.sessions.values()]
    uses += [(owner.memory, name) for name in ("allocate", "pinned")]
    uses += [(owner.stream, name) for name in ("to_device", "to_host", "synchronize")]
    for of, name in uses:
        setattr(of, name, in_turn(getattr(of, name)))
    return found


@pytest.fixture(scope="module", params=[load, load_captured], ids=["streams", "graphs"])
def loaded(request):
    return request.param


@pytest.fixture(scope="module")
def device(gpu_bundle, loaded):
    return loaded(gpu_bundle)


def random_batch(rows, length, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, 24, (rows, length))
    lengths = generator.integers(1, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return ids * mask, mask, np.zeros_like(ids)


@pytest.mark.parametrize("speed", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_batch_gives_what_each_row_gives_alone(device, speed):
    ids, mask, types = random_batch(13, 20)
    together = device.run(ids, mask, types, speed=speed)
    for row in range(len(ids)):
        end = mask[row].sum()
        alone = device.run(ids[row : row + 1, :end], speed=speed)
        assert together.exit_layer[row] == alone.exit_layer[0]
        assert np.allclose(together.logits[row], alone.logits[0], atol=0.02)


def test_samples_of_one_batch_exit_at_different_layers(device):
    found = device.run(*random_batch(13, 20), speed=0.6)
    assert len(set(found.exit_layer.tolist())) > 1  # so the compaction ran


def test_half_precision_stays_near_float32(device, gpu_bundle):
    arrays = random_batch(64, 30, seed=3)
    exact, half = Classifier.load(gpu_bundle, variant="fp32").run_all_exits(*arrays), device.run_all_exits(*arrays)
    assert 0 < np.abs(exact[0] - half[0]).max() < 0.02
    assert np.abs(exact[1] - half[1]).max() < 0.01
    assert half[0].dtype == half[1].dtype == np.float32


def test_shapes_may_grow_and_shrink(device):
    for rows, length in ((1, 3), (20, 40), (2, 48), (33, 5)):
        arrays = random_batch(rows, length, seed=rows)
        again = device.run(*arrays, speed=0.6)
        assert np.array_equal(device.run(*arrays, speed=0.6).logits, again.logits)


def test_each_thread_has_its_own_buffers(device):
    arrays = [random_batch(9, 25, seed=seed) for seed in range(4)]
    expected = [device.run(*batch, speed=0.6) for batch in arrays]
    found, failed = {}, []

    def work(index):
        try:
            for _ in range(5):
                found[index] = device.run(*arrays[index], speed=0.6)
                assert np.array_equal(found[index].logits, expected[index].logits)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_state_ends_with_the_next_run_of_its_thread(device):
    engine = device._engine
    state = engine.start(*random_batch(2, 5))
    engine.start(*random_batch(2, 5))
    with pytest.raises(ValueError, match="run is over"):
        engine.run_stage(0, state)


def test_a_stage_may_be_run_again_from_the_same_state(device):
    """Its input is in the other buffer, which it does not change."""
    engine = device._engine
    state = engine.start(*random_batch(3, 5))
    first = engine.run_stage(0, state)[1]
    assert np.array_equal(engine.run_stage(0, state)[1], first)


def test_a_new_thread_reuses_the_buffers_of_one_that_ended(gpu_bundle, monkeypatch):
    device = load(gpu_bundle)
    memory = device._engine._executor.memory
    allocated = []
    monkeypatch.setattr(memory, "allocate", lambda *what, real=memory.allocate: allocated.append(what) or real(*what))
    arrays = random_batch(3, 20)
    found = []

    def in_threads(count):
        together = threading.Barrier(count)
        threads = [
            threading.Thread(target=lambda: (together.wait(), found.append(device.run(*arrays, speed=0.6).logits)))
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        return len(allocated)

    one = in_threads(1)
    assert in_threads(1) == one > 0
    assert in_threads(1) == one
    two = in_threads(2)  # at most one more lane
    assert two <= 2 * one
    assert in_threads(2) <= 2 * one
    assert all(np.array_equal(logits, found[0]) for logits in found)


def test_with_graphs_batches_and_sequences_are_padded_to_few_sizes_that_the_model_has(gpu_bundle):
    device = load_captured(gpu_bundle)
    executor, limit = device._engine._executor, read_manifest(gpu_bundle).max_positions
    sizes = {executor.fit(rows, length, pad_batch=True) for rows in range(1, 33) for length in range(1, limit + 1)}
    assert {rows for rows, _ in sizes} == {1, 2, 3, 4, 6, 8, 12, 16, 24, 32}
    assert {length for _, length in sizes} == {16, 24, 32, 48, 64, limit}
    assert limit == 66  # not a size itself
    assert all(executor.fit(*size, pad_batch=True) == size for size in sizes)
    assert executor.fit(5, 7, pad_batch=False) == (5, 7)


def test_with_graphs_a_known_shape_is_replayed(gpu_bundle):
    device = load_captured(gpu_bundle)
    stage = device._engine._executor.sessions[0]
    for length in (17, 18, 24, 24):
        device.run(*random_batch(1, length), speed=0.0)
    assert stage.replays == 3
    device.run(*random_batch(1, 25), speed=0.0)
    assert stage.replays == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_full_batches_give_the_answers_of_single_rows(device, small_groups, workers):
    check_full_batches(device, workers)


def test_a_full_batch_has_at_most_as_many_rows_as_asked_for(device):
    assert device._engine.pools(10, 20).batch == 10
    assert device._engine.pools(10**6, 24).batch <= 1.5 * device_chain.POOL_TOKENS / 24


def test_pools_are_over_when_the_thread_starts_another_run(device):
    pools = device._engine.pools(4, 20)
    device._engine.start(*random_batch(2, 5))
    with pytest.raises(ValueError, match="run is over"):
        pools.run_stage(0, 1)
