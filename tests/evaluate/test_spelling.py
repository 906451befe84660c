"""Which columns a command line means."""

import pytest

from ironstep.evaluate import InputError
from ironstep.evaluate._spelling import of_labels, of_models

COLUMNS = ["y", "y_a", "y_b", "net_a", "net_b", "net_c", "p=q", "s*", "x,z", "id"]


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (["y"], "y"),
        (["y_*"], {"a": "y_a", "b": "y_b"}),
        (["y_a", "y_b"], {"y_a": "y_a", "y_b": "y_b"}),
        (["*_a"], {"y": "y_a", "net": "net_a"}),
        (["s*"], "s*"),
    ],
)
def test_labels(spelled, expected):
    assert of_labels(spelled, COLUMNS) == expected


OF_NET = {"a": "net_a", "b": "net_b", "c": "net_c"}


@pytest.mark.parametrize(
    ("spelled", "targets", "expected"),
    [
        ("net_a", None, {"net_a": "net_a"}),
        ("best=net_a", None, {"best": "net_a"}),
        ("net_*", None, {"net": OF_NET}),
        ("best=net_*", None, {"best": OF_NET}),
        ("best=net_*", ["b", "a"], {"best": {"b": "net_b", "a": "net_a"}}),
        ("best=net_a,net_c", ["u", "v"], {"best": {"u": "net_a", "v": "net_c"}}),
        ("net_a,net_c", ["u", "v"], {"model": {"u": "net_a", "v": "net_c"}}),
        # A column's own name goes first, whatever signs are in it.
        ("p=q", None, {"p=q": "p=q"}),
        ("s*", None, {"s*": "s*"}),
        ("x,z", None, {"x,z": "x,z"}),
        ("one=x,z", None, {"one": "x,z"}),
        ("one=p=q", None, {"one": "p=q"}),
    ],
)
def test_models(spelled, targets, expected):
    assert of_models([spelled], COLUMNS, targets, ["y", "id"]) == expected


def test_a_star_leaves_out_what_is_something_else():
    columns = ["p_a", "p_b", "p_id"]
    found = of_models(["p_*"], columns, None, ["p_id"])
    assert found == {"p": {"a": "p_a", "b": "p_b"}}


@pytest.mark.parametrize(
    ("spelled", "targets", "says"),
    [
        (["net_d"], None, "no column 'net_d'; did you mean 'net_"),
        (["best=net_d"], None, "no column 'net_d'"),
        (["nix_*"], None, "no column is called 'nix_\\*'"),
        (["*e*"], None, "got 2 stars; one expected"),
        (["net_*"], ["a", "d"], "no column 'net_d', which 'net_\\*' asks for"),
        (["net_a,net_b"], None, "got 2 columns; as many classes expected"),
        (["net_a,net_b"], ["a", "b", "c"], "got 2 columns"),
        (["net_a", "net_a"], None, "two models have one name"),
        (["m=net_a", "n=net_a"], None, "named twice"),
        (["m=net_*", "m=net_a"], None, "two models have one name"),
        (["y"], None, "named twice as label or score"),
        (["x*"], None, "got one column"),
    ],
)
def test_what_is_wrong_is_said(spelled, targets, says):
    with pytest.raises(InputError, match=says):
        of_models(spelled, COLUMNS, targets, ["y", "id"])
