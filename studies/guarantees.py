"""How often a promise of ``fastbert tune`` fails, and what it costs: ``python -m studies.guarantees BUNDLE DATA``.

Over many random splits of the rows, the speed is decided on one half by the product's own code, and judged

- on the **other half**, against the loosest speed that keeps the promise there, which nobody can know (the oracle);
  that half is a sample too, and what one half of a file lacks the other has, so a promise that is true is often missed
  there by a few rows: both that and a miss beyond its sampling error are counted;
- in the **population**: rows are drawn from the files with replacement, so that the files' own share is the truth. This
  is what is promised: it must fail in at most 5 % of the draws.

With ``--tune`` and ``--test``, ``fastbert tune --max-drop 0.5`` on one file is judged on another.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.statistics.binomial import binomial_p_value
from fastbert.benchmarks.statistics.guarantees import losses_allowed
from fastbert.benchmarks.tuning import TuneOptions, tune
from fastbert.benchmarks.tuning.exits import ExitAnswers, exit_answers
from fastbert.benchmarks.tuning.rows import read_data
from fastbert.benchmarks.tuning.search import choose
from fastbert.benchmarks.tuning.speeds import SPEEDS, Rows
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.runtime.errors import DataError
from fastbert.runtime.manifest import read_manifest

CONFIDENCE = 0.95
_ONE_SIDED = NormalDist().inv_cdf(CONFIDENCE)
PROMISES = (("min_agreement", 0.99), ("min_agreement", 0.98), ("max_drop", 0.5), ("max_drop", 1.0))


@dataclass(frozen=True)
class Kept:
    """How a promise fared over the splits.

    :param rows: in each half.
    :param failed_in_population: share of the draws.
    :param missed_on_other_half: share of the splits; ``missed_beyond_error``: by more than the other half's own
        sampling error (one-sided, 95 %).
    :param most_by_chance: the largest such share that 5 % of failures explains (95 % of the time).
    :param saving: share of the layers saved on the other half, on average; ``oracle_saving``: by the oracle.
    :param no_speed: share of the splits in which no speed passed, so that nothing is saved.
    """

    promise: str
    value: float
    splits: int
    rows: int
    failed_in_population: float
    missed_on_other_half: float
    missed_beyond_error: float
    most_by_chance: float
    saving: float
    oracle_saving: float
    no_speed: float


class Everything:
    """All rows at all speeds: the loss of each row, and its layers.

    :param rows: with labels where a promise needs them.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.speeds = (0.0, *SPEEDS)
        self.layers = np.stack([rows.at(speed).layers for speed in self.speeds])
        self.disagreements = np.stack([rows.disagreements(speed) for speed in self.speeds])
        self.losses = np.stack([rows.losses(speed) for speed in self.speeds]) if rows.labels is not None else None

    def judge(self, target: Target, *, splits: int, seed: int) -> Kept:
        """Return how a promise fared."""
        generator = np.random.default_rng(seed)
        losses = self.losses if target.kind.labels else self.disagreements
        assert losses is not None
        count, half = len(self.rows), len(self.rows) // 2
        truth = losses.mean(axis=1)
        missed, beyond, failed, none = 0, 0, 0, 0
        savings, oracles = [], []
        for _ in range(splits):
            order = generator.permutation(count)
            other = order[half : 2 * half]
            found = self.speeds.index(choose(self.rows.part(order[:half]), target).speed)
            risk = losses[:, other].mean(axis=1)
            layers = self.layers[:, other].mean(axis=1) / self.rows.layers
            missed += bool(risk[found] > target.most_loss)
            error = _ONE_SIDED * float(losses[found, other].std()) / half**0.5
            beyond += bool(risk[found] - error > target.most_loss)
            none += found == 0
            savings.append(1 - layers[found])
            oracles.append(1 - layers[_loosest(risk <= target.most_loss)])
            drawn = self.speeds.index(choose(self.rows.part(generator.choice(count, half)), target).speed)
            failed += bool(truth[drawn] > target.most_loss)
        return Kept(
            promise=target.kind.name,
            value=target.value,
            splits=splits,
            rows=half,
            failed_in_population=failed / splits,
            missed_on_other_half=missed / splits,
            missed_beyond_error=beyond / splits,
            most_by_chance=_most_by_chance(splits) / splits,
            saving=float(np.mean(savings)),
            oracle_saving=float(np.mean(oracles)),
            no_speed=none / splits,
        )


def _loosest(kept: NDArray[np.bool_]) -> int:
    """Return the last speed up to which every stricter one keeps the promise."""
    return len(kept) - 1 if kept.all() else int(np.argmin(kept)) - 1


def _most_by_chance(splits: int) -> int:
    """Return the fewest failures that a probability of 5 % exceeds in at most 5 % of such studies."""
    return next(most for most in range(splits) if binomial_p_value(most, splits, 1 - CONFIDENCE) >= CONFIDENCE)


def read_everything(bundle: Path, files: Sequence[Path], *, variant: str | None = None) -> Everything:
    """Return every exit's answers to all rows of some files, as ``fastbert tune`` keeps them."""
    manifest = read_manifest(bundle)
    chosen = manifest.variant_for("cpu", variant)
    found, labels = [], []
    for file in files:
        data = read_data(file, manifest, needs_labels=True, ignore_labels=False)
        assert data.labels is not None
        kept = exit_answers(bundle, manifest, chosen, data.rows, data.sha256, device="cpu", threads=None)
        found.append(kept.exits)
        labels.append(data.labels)
    joined = {name: np.concatenate([getattr(one, name) for one in found]) for name in vars(found[0])}
    return Everything(Rows(ExitAnswers(**joined), np.concatenate(labels), manifest.exits))


def measure_promises(everything: Everything, *, splits: int, seed: int = 0) -> list[Kept]:
    """Return how each of `PROMISES` fared; those that half of the rows cannot make are left out."""
    half, found = len(everything.rows) // 2, []
    for name, value in PROMISES:
        target = Target(TARGETS[name], value, CONFIDENCE)
        if losses_allowed(half, target.most_loss, CONFIDENCE) >= 0:
            found.append(everything.judge(target, splits=splits, seed=seed))
            print(_line(found[-1]), flush=True)
    return found


def _line(kept: Kept) -> str:
    return (
        f"{kept.promise} {kept.value:g}: {kept.splits} splits of 2 x {kept.rows} rows; failed in the population "
        f"{kept.failed_in_population:.1%} (by chance at most {kept.most_by_chance:.1%}); missed on the other half "
        f"{kept.missed_on_other_half:.1%}, beyond its sampling error {kept.missed_beyond_error:.1%}; layers saved "
        f"{kept.saving:.1%}, by an oracle {kept.oracle_saving:.1%}; no speed in {kept.no_speed:.1%}"
    )


def tuned_row(name: str, report: dict[str, Any]) -> str:
    """Return a report's row in the table of docs/tuning.md: what tuning for half a point found, on rows never seen."""
    cells = [name, str(report["classes"]), f"{report['tuned'][0]['full_depth']['accuracy']:.1%}"]
    for found in report["tuned"]:
        if "error" in found or not found["reached"]:
            cells += ["too few rows", ""] if "error" in found else ["none", ""]
        else:
            cells += [f"{found['chosen']['layer_speedup']:.2f}", f"{found['chosen']['accuracy']:.1%}"]
    return f"| {' | '.join(cells)} |"


def promise_row(name: str, kept: dict[str, Any]) -> str:
    """Return a promise's row in the table of docs/tuning.md."""
    value = kept["value"]
    promise = f"{value:.0%} agreement" if kept["promise"] == "min_agreement" else f"{value:g} points"
    names = ("failed_in_population", "missed_on_other_half", "missed_beyond_error", "saving", "oracle_saving")
    return f"| {' | '.join([name, promise, str(kept['rows']), *(f'{kept[key]:.1%}' for key in names)])} |"


def _tuned(bundle: Path, data: Path, test: Path, variant: str | None) -> list[dict[str, Any]]:
    """Return what tuning for half a point finds, without a guarantee and with one where the rows suffice."""
    found = []
    for confidence in (None, CONFIDENCE):
        options = TuneOptions(data, max_drop=0.5, confidence=confidence, test=test, variant=variant)
        try:
            report = tune(bundle, options)
        except DataError as error:  # too few rows: that is a result too
            found.append({"confidence": confidence, "error": str(error).replace(str(data), data.name)})
            continue
        document = report.as_dict()
        keys = ("deciding_rows", "measuring_rows", "reached", "chosen", "full_depth", "guarantee", "other_measure")
        found.append({"confidence": confidence, **{key: document[key] for key in keys}})
        chosen, full = report.chosen, report.full_depth
        accuracies = f"{100 * (chosen.accuracy or 0):.1f} % of full depth's {100 * (full.accuracy or 0):.1f} %"
        print(
            f"max_drop 0.5, confidence {confidence}: speed {chosen.speed:g}, {chosen.layer_speedup:.2f} times fewer "
            f"layers, {accuracies}"
        )
    return found


def main() -> int:
    """Run the study on one bundle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, nargs="*", help="labelled rows to split, together")
    parser.add_argument("--tune", type=Path, help="rows to tune on, for --test")
    parser.add_argument("--test", type=Path, help="rows never seen")
    parser.add_argument("--variant")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON report")
    options = parser.parse_args()
    if (options.tune is None) != (options.test is None) or not (options.data or options.tune):
        parser.error("name rows to split, or --tune with --test, or both")
    report: dict[str, Any] = {"environment": describe_environment(), "files": [file.name for file in options.data]}
    if options.data:
        everything = read_everything(options.bundle, options.data, variant=options.variant)
        report |= {"rows": len(everything.rows), "classes": len(read_manifest(options.bundle).labels)}
        kept = measure_promises(everything, splits=options.splits, seed=options.seed)
        report["promises"] = [asdict(one) for one in kept]
    if options.tune:
        report["tuned"] = _tuned(options.bundle, options.tune, options.test, options.variant)
    if options.output:
        options.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
