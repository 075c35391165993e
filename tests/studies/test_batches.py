import itertools
from types import SimpleNamespace

from support.factories import make_rows, write_tsv

from studies import batches


def test_every_size_is_run_as_threads_and_as_workers(bundle, tmp_path, monkeypatch):
    sizes, cut = set(), batches.micro_batches

    def micro_batches(*arguments, tokens, **others):
        sizes.add(tokens)
        return cut(*arguments, tokens=tokens, **others)

    monkeypatch.setattr(batches, "micro_batches", micro_batches)
    monkeypatch.setattr(batches, "time", SimpleNamespace(perf_counter=itertools.count(0, 4).__next__))
    data = write_tsv(tmp_path / "d.tsv", make_rows(30))
    found = batches.compare_batches(bundle, data, variant="fp32", cores=2, speed=0.3, rows=20)
    settings = [(one["tokens"], one["threads"], one["workers"]) for one in found]
    assert settings == [(tokens, *share) for tokens in batches._TOKENS for share in ((1, 1), (1, 2), (2, 1))]
    assert sizes == set(batches._TOKENS)
    assert {one["rows_per_s"] for one in found} == {20 / 4}
