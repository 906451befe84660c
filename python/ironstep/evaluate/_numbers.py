"""Numbers as readers see them."""

from __future__ import annotations

import math

from ironstep.metrics import Comparison, Corrected, Estimate

MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Three digits after the point; large ones with three digits in all; a true minus sign."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return ("" if value > 0 else MINUS) + "∞"
    text = (
        f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.2f}"
        if abs(value) < 100
        else f"{value:.0f}"
    )
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(value: float) -> str:
    """A share as a percentage, with no more digits than it has."""
    return f"{100 * value:.4g}%"


def p_value(value: float) -> str:
    """A p-value with its sign."""
    if math.isnan(value):
        return "p not known"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def count(value: float) -> str:
    """A number of cases, or a sum of weights."""
    return f"{value:g}" if value == int(value) and value < 1e6 else f"{value:.0f}"


def with_interval(estimate: Estimate) -> str:
    """A value and its limits."""
    if math.isnan(estimate.low):
        return f"{number(estimate.value)} (no interval)"
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def difference_with_interval(comparison: Comparison) -> str:
    """A difference and its limits."""
    low, high = number(comparison.low), number(comparison.high)
    return f"{number(comparison.difference)} ({low} to {high})"


def corrected_with_interval(corrected: Corrected) -> str:
    """A corrected value and its limits."""
    low, high = number(corrected.low), number(corrected.high)
    return f"{number(corrected.corrected)} ({low} to {high})"


def bare(p: float) -> str:
    """A p-value under a heading that says what it is."""
    return "–" if math.isnan(p) else p_value(p).removeprefix("p = ").removeprefix("p ")
