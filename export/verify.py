"""``fastbert verify``: a bundle against its golden rows, or against a checkpoint on rows of the user's."""

from pathlib import Path

from fastbert.export.golden import GOLDEN, Golden, read_golden
from fastbert.export.verification import TOLERANCE, Verification, verify_bundle
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import check_files, read_manifest

__all__ = ["verify"]


def verify(
    bundle: Path, *, against: str | None = None, data: Path | None = None, tolerance: float = TOLERANCE
) -> Verification:
    """Check every file of a bundle, then run its engines.

    :param against: a checkpoint; None: the golden rows in the bundle, which needs no PyTorch.
    :param data: rows to compare on; None: those kept in the checkpoint.
    :param tolerance: largest logit difference allowed.
    :raises BundleError: a file is missing or altered.
    :raises UsageError: ``data`` without ``against``, or no rows.
    """
    manifest = read_manifest(bundle)
    check_files(bundle, manifest, manifest.files, contents=True)
    if against is None:
        if data is not None:
            raise UsageError("--data needs --against CHECKPOINT: only PyTorch knows the answers for other rows.")
        return verify_bundle(bundle, read_golden(bundle / GOLDEN), tolerance=tolerance)
    from fastbert.checkpoint import load_checkpoint
    from fastbert.data import read_texts
    from fastbert.reference import compute_reference

    checkpoint = load_checkpoint(against)
    rows = read_texts(data) if data is not None else list(checkpoint.sample_rows)
    if not rows:
        raise UsageError(f"{against} keeps no rows to compare on. Name a data file with --data.")
    golden = Golden.from_reference(rows, compute_reference(checkpoint, rows), manifest.exits)
    return verify_bundle(bundle, golden, tolerance=tolerance)
