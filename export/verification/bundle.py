"""``fastbert verify``: a bundle against its golden rows, or against a checkpoint on any rows."""

from pathlib import Path

from fastbert.export.golden import GOLDEN, Golden, read_golden
from fastbert.export.verification.compare import runs_on, verify_bundle
from fastbert.export.verification.outcome import DEFAULT_BOUNDS, Bounds, Verification
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import Manifest, check_files, read_manifest


def verify(
    bundle: Path,
    *,
    against: str | None = None,
    data: Path | None = None,
    device: str = "cpu",
    variant: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> list[Verification]:
    """Check every file of a bundle, then run the engines of each variant that ``device`` can run.

    :param against: a checkpoint; None: the golden rows in the bundle, which needs no PyTorch. Its uncertainty is that
        which the bundle measures: an export may choose another than the checkpoint's.
    :param data: rows to compare on; None: those kept in the checkpoint.
    :param variant: verify only this one.
    :raises BundleError: a file is missing or altered, or the exits measure what this version does not know.
    :raises UsageError: ``data`` without ``against``, no such variant, or no rows.
    """
    manifest = read_manifest(bundle)
    check_files(bundle, manifest, manifest.files, contents=True)
    names = [held.name for held in manifest.variants if runs_on(held, device) and variant in (None, held.name)]
    if not names:
        manifest.variant_for(device, variant)  # raises, and lists what the bundle has
    if against is not None:
        golden = _rows_of_checkpoint(against, data, manifest)
    elif data is None:
        golden = read_golden(bundle / GOLDEN)
    else:
        raise UsageError("`data` needs `against`, a checkpoint: only PyTorch knows the answers for other rows.")
    return [verify_bundle(bundle, golden, device=device, variant=name, bounds=bounds) for name in names]


def _rows_of_checkpoint(name: str, data: Path | None, manifest: Manifest) -> Golden:
    from fastbert.checkpoint import load_checkpoint
    from fastbert.data import read_texts
    from fastbert.reference import compute_reference
    from fastbert.uncertainty import MEASURES

    measure = manifest.uncertainty
    if measure not in MEASURES:
        raise BundleError(
            f"The bundle's exits measure {measure!r}; this fastbert knows {', '.join(MEASURES)}. Verify it with the "
            "version that wrote it, or without `against`, on its golden rows."
        )
    checkpoint = load_checkpoint(name)
    labels = checkpoint.model.config.labels
    rows = read_texts(data, labels=labels) if data is not None else list(checkpoint.sample_rows)
    if not rows:
        raise UsageError(f"{name} keeps no rows to compare on. Name a data file with `data`.")
    reference = compute_reference(checkpoint, rows, measure)
    return Golden.from_reference(rows, reference, manifest.exits, manifest.labels)
