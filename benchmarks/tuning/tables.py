"""A tuning's report for people: one table, and what it promises in words."""

from rich.table import Table

from fastbert.benchmarks.tuning.report import Measured, TuneReport
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.console.streams import table_cell
from fastbert.data.row_counts import count_rows, some_rows

PROMISE = (
    "It promises the full model's answers on rows like these, from these engines. It does not promise that they are "
    "right, nor anything for rows of another kind."
)


def tune_table(report: TuneReport) -> Table:
    """Return a table of full depth and of the speed that was found."""
    apart = "that had no part in the choice" if report.measured_apart else "that also chose the speed"
    table = Table(title=f"{table_cell(report.variant)} on {count_rows(report.measuring_rows)} {apart}")
    labelled, timed = report.chosen.accuracy is not None, report.chosen.p50_ms is not None
    columns = ["speed", "mean layers", "x fewer layers"]
    columns += ["accuracy (95 % interval)", "lost, points"] if labelled else []
    table.add_column("")
    for column in [*columns, "same answer as full depth", *(["p50 ms"] if timed else [])]:
        table.add_column(column, justify="right")
    found = report.written or ("found" if report.reached else "nearest")
    rows = {"full depth": report.full_depth, found: report.chosen}
    for name, figures in rows.items():
        table.add_row(table_cell(name), *_cells(figures))
    return table


def _cells(figures: Measured) -> list[str]:
    cells = [f"{figures.speed:g}", f"{figures.mean_layers:.2f}", f"{figures.layer_speedup:.2f}"]
    if figures.accuracy is not None and figures.accuracy_interval is not None:
        low, high = figures.accuracy_interval
        cells.append(f"{100 * figures.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
        cells.append(f"{figures.drop_points or 0.0:.2f}")
    cells.append(f"{100 * figures.agreement:.2f} %")
    return cells if figures.p50_ms is None else [*cells, f"{figures.p50_ms:.2f}"]


def tune_notes(report: TuneReport) -> list[str]:
    """Return the paragraphs below the table."""
    return [note for note in (_decision(report), _guarantee(report), _other(report), _written(report)) if note]


def _decision(report: TuneReport) -> str:
    source = "ran every exit" if report.computed else "results of an earlier call"
    deciding = some_rows(report.deciding_rows, report.rows, report.data)
    return f"Target: {report.words}. {deciding} decided ({source})."


def _target(report: TuneReport) -> Target:
    return Target(TARGETS[report.target["kind"]], report.target["value"])


def _guarantee(report: TuneReport) -> str:
    found = report.guarantee
    if found is None:
        if not report.reached:
            return ""
        if report.met_when_measured or not report.measured_apart:
            return "No guarantee."
        sure = ", and `confidence` asks for a guarantee" if _target(report).can_be_guaranteed else ""
        return (
            "No guarantee: the rows above, which had no part in the choice, miss the target. With more rows it is met "
            f"more closely{sure}."
        )
    test = "exact binomial test" if found.test == "binomial" else "betting test of the accuracy lost"
    chance = report.measured_apart and not report.met_when_measured and not report.contradicted
    missed = " The rows above miss it, which so few may by chance." if chance else ""
    return (
        f"Guaranteed with {100 * found.confidence:g} % confidence: {report.words}. Of {count_rows(found.rows)}, "
        f"{found.losses} got another answer ({test}, speeds in a fixed order).{missed} {PROMISE}"
    )


def _other(report: TuneReport) -> str:
    other = report.other_measure
    if other is None:
        return ""
    ours, theirs = report.chosen, other.measured
    figures = f"{theirs.mean_layers:.2f} layers instead of {ours.mean_layers:.2f}, "
    if _target(report).kind.labels and theirs.accuracy is not None and ours.accuracy is not None:
        figures += f"accuracy {100 * theirs.accuracy:.1f} % instead of {100 * ours.accuracy:.1f} %"
    else:
        figures += f"{100 * theirs.agreement:.2f} % the same answer instead of {100 * ours.agreement:.2f} %"
    return (
        f"The measure {other.name} would do better here than {report.uncertainty}: {figures}. Command: {other.command}"
    )


def _written(report: TuneReport) -> str:
    if report.written is None:
        return ""
    before = ""
    if report.replaced is not None:
        other = "" if report.replaced.variant == report.variant else f" of {report.replaced.variant}"
        before = f", in place of speed {report.replaced.speed:g}{other}"
    return f"{report.bundle}: operating point {report.written} written{before}. Use it with {report.written_flags}"
