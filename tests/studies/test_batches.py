from support.factories import make_rows, write_tsv

from studies.batches import compare_batches


def test_every_size_is_run_as_threads_and_as_workers(bundle, tmp_path):
    data = write_tsv(tmp_path / "d.tsv", make_rows(30))
    found = compare_batches(bundle, data, variant="fp32", cores=2, speed=0.3, rows=20)
    assert {(one["threads"], one["workers"]) for one in found} == {(1, 1), (1, 2), (2, 1)}
    assert len(found) == 3 * len({one["tokens"] for one in found}) == 15
    assert all(one["rows_per_s"] > 0 for one in found)
