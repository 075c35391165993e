"""``fastbert verify``: a bundle against its golden rows, or against a checkpoint on rows of the user's."""

from pathlib import Path

from fastbert.export.golden import GOLDEN, Golden, read_golden
from fastbert.export.verification.compare import DEFAULT_BOUNDS, Bounds, Verification, verify_bundle
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Variant, check_files, read_manifest

__all__ = ["verify"]


def verify(
    bundle: Path,
    *,
    against: str | None = None,
    data: Path | None = None,
    device: str = "cpu",
    variant: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> list[Verification]:
    """Check every file of a bundle, then run the engines of each variant that can be run on ``device``.

    :param against: a checkpoint; None: the golden rows in the bundle, which needs no PyTorch.
    :param data: rows to compare on; None: those kept in the checkpoint.
    :param variant: only this one.
    :param bounds: how far engines may be from PyTorch.
    :raises BundleError: a file is missing or altered.
    :raises UsageError: ``data`` without ``against``, or no rows.
    """
    manifest = read_manifest(bundle)
    check_files(bundle, manifest, manifest.files, contents=True)
    names = [found.name for found in manifest.variants if _runs_on(found, device) and variant in (None, found.name)]
    if not names:
        manifest.variant_for(device, variant)  # says what the bundle holds

    def run(golden: Golden) -> list[Verification]:
        return [verify_bundle(bundle, golden, device=device, variant=name, bounds=bounds) for name in names]

    if against is None:
        if data is not None:
            raise UsageError("--data needs --against CHECKPOINT: only PyTorch knows the answers for other rows.")
        return run(read_golden(bundle / GOLDEN))
    from fastbert.checkpoint import load_checkpoint
    from fastbert.data import read_texts
    from fastbert.reference import compute_reference

    checkpoint = load_checkpoint(against)
    labels = checkpoint.model.config.labels
    rows = read_texts(data, labels=labels) if data is not None else list(checkpoint.sample_rows)
    if not rows:
        raise UsageError(f"{against} keeps no rows to compare on. Name a data file with --data.")
    return run(Golden.from_reference(rows, compute_reference(checkpoint, rows), manifest.exits, manifest.labels))


def _runs_on(variant: Variant, device: str) -> bool:
    return device in variant.devices or (device == "cpu" and variant.engine == "onnxruntime_cuda")
