"""The figures of a load: a table for people, an object for programs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

from . import server_metrics
from .client import Outcome
from .load import Measured

_WARM = 0.1  # of the time: memory is compared with what the server had after it


def percentiles(seconds: list[float]) -> dict[str, float] | None:
    """p50, p95 and p99 in milliseconds; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1e3 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 3)

    return {"p50": at(0.50), "p95": at(0.95), "p99": at(0.99)}


def is_good(outcome: Outcome, first: float | None, between: float | None) -> bool:
    """Whether an answer came whole and as fast as asked: seconds to the first text, and between texts."""
    if not outcome.ok:
        return False
    if first is not None and (outcome.first is None or outcome.first > first):
        return False
    slowness = statistics.median(outcome.gaps) if outcome.gaps else 0.0
    return between is None or slowness <= between


def figures(measured: Measured, first: float | None = None, between: float | None = None) -> dict[str, Any]:
    """What was found. first, between: limits of what counts as good, in seconds.

    Times are milliseconds as a client sees them, but `queue_ms`, which the server tells (bounds of its
    histogram's buckets). What the server does not tell is None.
    """
    outcomes = measured.outcomes
    whole = [o for o in outcomes if o.ok]
    good = sum(is_good(o, first, between) for o in outcomes)
    errors = Counter(o.error for o in outcomes if o.error and o.status != 429)
    videos: Counter[str] = Counter()
    for outcome in outcomes:
        videos.update(outcome.videos)
    return {
        "seconds": round(measured.spent, 3),
        "sent": len(outcomes),
        "completed": len(whole),
        "good": good,
        "goodput_per_s": round(good / measured.spent, 4) if measured.spent else 0.0,
        "rejected": sum(o.status == 429 for o in outcomes),
        "left_early": sum(o.left for o in outcomes),
        "errors": dict(sorted(errors.items())),
        "first_token_ms": percentiles([o.first for o in whole if o.first is not None]),
        "first_token_ms_of": {
            kind: percentiles([o.first for o in whole if o.kind == kind and o.first is not None])
            for kind in sorted({o.kind for o in whole})
        },
        "between_tokens_ms": percentiles([gap for o in whole for gap in o.gaps]),
        "request_ms": percentiles([o.whole for o in whole]),
        "queue_ms": _queue(measured),
        "client_late_ms": percentiles([o.late for o in outcomes]),
        "videos": dict(sorted(videos.items())),
        "slots_lost": measured.held,
        "memory": _memory(measured),
    }


def _queue(measured: Measured) -> dict[str, float] | None:
    before, after = measured.before, measured.after
    if before is None or after is None:
        return None
    name = "g4v_queue_seconds"
    mean = server_metrics.mean(before, after, name)
    if mean is None:
        return None
    found = {"mean": round(1e3 * mean, 3)}
    for label, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        bound = server_metrics.quantile(before, after, name, share)
        if bound is not None and math.isfinite(bound):
            found[label] = round(1e3 * bound, 3)
    return found


def _memory(measured: Measured) -> dict[str, float] | None:
    if not measured.memory:
        return None
    warm = next((b for at, b in measured.memory if at >= _WARM * measured.spent), measured.memory[-1][1])
    last = measured.memory[-1][1]
    return {
        "first_bytes": measured.memory[0][1],
        "warm_bytes": warm,
        "most_bytes": max(size for _, size in measured.memory),
        "last_bytes": last,
        "growth": round(last / warm - 1, 4) if warm else 0.0,
    }


def table(found: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [
        f"{'requests':22} {found['sent']} sent, {found['completed']} completed, {found['left_early']} left "
        f"early, {found['rejected']} rejected (429), {sum(found['errors'].values())} errors",
        f"{'goodput':22} {found['goodput_per_s']:.2f} a second ({found['good']} in {found['seconds']:.1f} s)",
    ]
    lines += [f"{'  ' + name:22} {count}" for name, count in found["errors"].items()]
    rows = {"first token": found["first_token_ms"]}
    rows |= {f"  of {kind}": row for kind, row in found["first_token_ms_of"].items()}
    rows |= {"between tokens": found["between_tokens_ms"], "whole request": found["request_ms"]}
    rows |= {"in the queue, below": found["queue_ms"], "client is late": found["client_late_ms"]}
    lines.append(f"{'ms':22} {'p50':>10} {'p95':>10} {'p99':>10}")
    for name, row in rows.items():
        cells = (f"{row[key]:10.1f}" if row and key in row else f"{'-':>10}" for key in ("p50", "p95", "p99"))
        lines.append(f"{name:22} {' '.join(cells)}")
    if found["videos"]:
        lines.append(f"{'videos':22} {', '.join(f'{n} {status}' for status, n in found['videos'].items())}")
    lost, memory = found["slots_lost"], found["memory"]
    lines.append(f"{'places not free':22} {'not told' if lost is None else lost}")
    if memory is None:
        lines.append(f"{'memory':22} not told")
    else:
        lines.append(
            f"{'memory':22} {memory['first_bytes'] / 1e6:.1f} MB at the start, "
            f"{memory['warm_bytes'] / 1e6:.1f} MB warm, "
            f"{memory['last_bytes'] / 1e6:.1f} MB at the end ({memory['growth']:+.1%})"
        )
    return "\n".join(lines)
