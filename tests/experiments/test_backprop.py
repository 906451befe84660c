"""The experiment's oracle is autograd; that a wrong gradient would be seen."""

import math

import pytest

from ironstep.experiments import backprop
from ironstep.experiments._protocol import CONTRARY, SUPPORTED


def test_the_equations_are_autograds_and_differences(quick_of):
    found = quick_of(backprop.EXPERIMENT)
    assert found["autograd"] < 1e-12
    assert found["differences"] < 1e-7


def test_a_wrong_gradient_is_contrary(quick_of):
    right = quick_of(backprop.EXPERIMENT)
    wrong = dict(right, autograd=1e-3, differences=1e-3)
    for measured, verdict in ((right, SUPPORTED), (wrong, CONTRARY)):
        statements = backprop.EXPERIMENT.conclude([measured, measured]).statements
        assert {s.verdict for s in statements} == {verdict}


def test_the_small_network_is_the_published_one():
    net, x, y = backprop.small()
    edges = {edge.name: edge for edge in net.graph(x, y)}
    # Mazur's example prints 0.298371109, 0.082167041 and 0.000438568.
    assert float(edges["l"].value) == pytest.approx(0.298371109, abs=1e-9)
    assert edges["θ2"].gradient[0, 0] == pytest.approx(0.082167041, abs=1e-9)
    assert edges["θ1"].gradient[0, 0] == pytest.approx(0.000438568, abs=1e-9)


def test_no_difference_has_a_logarithm():
    measured = [dict(autograd=0.0, differences=1e-9, by_layer=[])] * 2
    (first, _) = backprop.EXPERIMENT.conclude(measured).statements
    assert first.interval.value == pytest.approx(math.log10(1e-17))
