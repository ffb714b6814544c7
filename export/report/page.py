"""The HTML page of a report: one file without scripts and without links to other files."""

from __future__ import annotations

import html
from typing import Any

from g4v.export.passes.keep_in_float32 import MARGIN
from g4v.export.report.component_report import ComponentReport, count_codes
from g4v.export.report.plots import COLOURS, Row, bars, marks
from g4v.export.report.units import seconds, size
from g4v.export.verify.activation_ranges import LIMIT

_COLUMNS = (
    "component",
    "precision",
    "weights",
    "size",
    "error (random)",
    "error (real)",
    "rounding",
    "of float16",
    "in float32",
    "time",
    "memory",
)
_KINDS = 5  # operators that are shown of a component
_NODES = 20  # nodes that are named

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse }
th, td { text-align: right; padding: .25em .9em .25em 0; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
svg { font: 13px system-ui, sans-serif; max-width: 100%; height: auto }
h2 { margin: 1.6em 0 .3em; font-size: 1.15em }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em }
.warn { color: #a33 }
"""


def page(values: dict[str, Any], parts: list[ComponentReport]) -> str:
    """Returns the HTML of a report. values: content of report.json; parts: its entries."""
    title = f"Export of {html.escape(values['name'])}"
    heads = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "\n".join("<tr>" + "".join(f"<td>{c}</td>" for c in _cells(part)) + "</tr>" for part in parts)
    packages = ", ".join(f"{name} {number}" for name, number in values["packages"].items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table>
{_errors(parts)}{_ranges(parts)}{_costs(parts)}{_notes(parts)}<p>{html.escape(packages)};
{html.escape(values["machine"]["system"])}; {html.escape(values["machine"]["cpu"])}</p>
</body></html>
"""


def _cells(part: ComponentReport) -> list[str]:
    return [
        html.escape(part.label),
        part.precision,
        f"{part.weights / 1e6:.1f} M" if part.weights >= 1e6 else f"{part.weights / 1e3:.1f} k",
        size(part.bytes),
        "" if part.random_error is None else f"{part.random_error:.1e}",
        "" if part.real_error is None else f"{part.real_error:.1e}",
        "" if part.rounding_error is None else f"{part.rounding_error:.1e}",
        "" if part.share is None else _percent(part.share),
        "" if part.kept is None else str(len(part.kept)) if part.kept else "&ndash;",
        seconds(part.seconds),
        size(part.peak_bytes),
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _errors(parts: list[ComponentReport]) -> str:
    rows = [Row(part.label, [part.random_error, part.real_error, part.rounding_error]) for part in parts]
    legend = ["seeded random inputs", "real inputs", "what quantising the weights changed"]
    if not any(part.rounding_error for part in parts):
        legend.pop()
    return f"""<h2>Error against PyTorch in float64</h2>
{marks(rows, legend, lambda value: f"{value:.0e}")}
<p>On random inputs: the largest difference over the largest value, with the weights as written. On real
inputs: the norm of the difference over the norm of the result (of the frame checker: the largest difference
of probabilities; the decoder's two errors are of the same text). The same norm is used on random inputs for
fp16 and bf16 graphs, in which every result is rounded to 16 bits, and for encoders and UNets in int8. Graphs
in fp8 are compared on real inputs only. Rounding: the norm of what quantising the weights changed over the
norm of the result.</p>
"""


def _ranges(parts: list[ComponentReport]) -> str:
    measured = [part for part in parts if part.largest]
    if not measured:
        return ""
    rows = [Row(p.label, [p.share, p.left_share if p.kept else None]) for p in measured]
    legend = ["largest value"]
    if any(part.kept for part in measured):
        legend.append("largest value left in float16")
    plot = marks(rows, legend, lambda value: f"{100 * value:g}%", [1.0], (0.01, 1.0))
    details = []
    for part in measured:
        kinds = ", ".join(
            f"{kind} {value:.4g}" for kind, value in list((part.largest or {}).items())[:_KINDS]
        )
        details.append(f"<tr><td>{html.escape(part.label)}</td><td>{html.escape(kinds)}</td></tr>")
    kept = "".join(_kept(part) for part in measured if part.kept)
    return f"""<h2>Range of values, as a share of float16's limit ({LIMIT:.0f})</h2>
{plot}
{kept}<details><summary>Largest values by operator</summary><table><tbody>
{chr(10).join(details)}
</tbody></table>
<p>Of float16 graphs only float16 values count, of others every value. (inside): what a fused operator
computes on the way; for attention it is a bound of the scores.</p></details>
"""


def _kept(part: ComponentReport) -> str:
    kept = part.kept or {}
    nodes = ", ".join(f"{name} {value:.3g}" for name, value in list(kept.items())[:_NODES])
    more = f" and {len(kept) - _NODES} more" if len(kept) > _NODES else ""
    return (
        f"<p>In float32 because a value comes within a factor of {MARGIN:g} of the limit, "
        f"{html.escape(part.label)}: {html.escape(nodes)}{more}.</p>\n"
    )


def _costs(parts: list[ComponentReport]) -> str:
    names = list(dict.fromkeys(step["name"] for part in parts for step in part.steps))[: len(COLOURS)]
    times, memory = [], []
    for part in parts:
        steps = {step["name"]: step for step in part.steps}
        spent = [steps[name]["seconds"] if name in steps else 0 for name in names]
        times.append(Row(part.label, spent if part.steps else [part.seconds], seconds(part.seconds)))
        most = max(part.steps, key=lambda step: step["peak_bytes"] or 0, default=None)
        where = f" ({most['name']})" if most and most["peak_bytes"] else ""
        memory.append(Row(part.label, [part.peak_bytes], size(part.peak_bytes) + where))
    sizes = [Row(part.label, [part.bytes], size(part.bytes)) for part in parts]
    return f"""<h2>Time of each step</h2>
{bars(times, names, lambda value: f"{value:g} s")}
<h2>Peak memory of the exporting process, and in which step</h2>
{bars(memory)}
<p>It includes mapped files, and memory that the process kept from earlier components.</p>
<h2>Size in the bundle</h2>
{bars(sizes)}
<p>Files that two targets share are counted for the first one.</p>
"""


def _notes(parts: list[ComponentReport]) -> str:
    lines = []
    for part in parts:
        if part.codes:
            codes = "; ".join(f"{count} {how}" for how, count in count_codes(part.codes).items())
            what = "Products" if part.precision == "fp8" else "Codes"
            lines.append(f"<p>{what} of the {html.escape(part.label)}: {html.escape(codes)}.</p>\n")
        if part.samples and part.samples["inputs"] != "real":
            text = html.escape(f"{part.label}: {part.samples['inputs']} in place of real inputs.")
            lines.append(f'<p class="warn">{text}</p>\n')
    for text in dict.fromkeys(_samples(part.samples) for part in parts if part.samples):
        lines.append(f"<p>{html.escape(text)}</p>\n")
    return "".join(lines)


def _samples(samples: dict[str, Any]) -> str:
    videos = ", ".join(f"{v['file']} (SHA-256 {v['sha256'][:12]}...)" for v in samples.get("videos", []))
    clips = videos or f"{samples.get('clips')} clips drawn by {samples.get('drawn_by')}"
    texts = f" and {samples['captions']} captions" if "captions" in samples else ""
    return f"Real inputs are made from {clips}{texts}."
