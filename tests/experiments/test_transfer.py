"""Which classes are whose, and what frozen means."""

import pytest
import torch

from ironstep.experiments import transfer


def test_halves_are_disjoint_and_all():
    source, rest, validation, test = transfer.halves(2)
    sizes = [len(part[1]) for part in (source, rest, validation, test)]
    assert sum(sizes) == 1797
    assert sizes[2:] == [transfer.N_VALIDATION, transfer.N_TEST]
    for part in (source, rest, validation, test):
        assert set(part[1].tolist()) == set(range(5))
    # No image of the target is among the source's.
    seen = {tuple(x.flatten().tolist()) for x in source[0]}
    assert not any(tuple(x.flatten().tolist()) in seen for x in test[0])


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    model = transfer.network()
    data = transfer.halves(0)[0]
    transfer.fit(model, *data, seed=0, epochs=1, lr=0.1, momentum=0.9)
    return model


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_frozen_blocks_keep_parameters_and_statistics(source, blocks):
    data = transfer.first_of_each(transfer.halves(0)[1], 5)
    before = {key: value.clone() for key, value in source.state_dict().items()}
    model = transfer.adapt(source, data, seed=0, lr=0.1, blocks=blocks, body=0.0, steps=4)
    for key, value in model.state_dict().items():
        if "num_batches" in key:
            continue
        same = torch.equal(value, before[key])
        assert same == (int(key[0]) < blocks), key
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())


def test_fine_tuning_moves_the_body_by_less_than_the_head(source):
    data = transfer.first_of_each(transfer.halves(0)[1], 5)
    tuned = transfer.adapt(source, data, seed=0, lr=0.1, blocks=3, body=0.1, steps=1)
    torch.manual_seed(0)
    fresh = transfer.network()
    moved = [
        float((a - b).detach().norm() / a.grad.norm())
        for a, b in (
            (tuned[3][1].weight, fresh[3][1].weight),
            (tuned[0][0].weight, source[0][0].weight),
        )
    ]
    assert moved[0] == pytest.approx(0.1, rel=1e-4)
    assert moved[1] == pytest.approx(0.01, rel=1e-2)


def test_features_computed_once_are_those_of_the_whole_network(source):
    _, rest, _, test = transfer.halves(0)
    data = transfer.first_of_each(rest, 5)
    model = transfer.adapt(source, data, seed=0, lr=0.1, blocks=2, body=0.0, steps=2)
    with torch.no_grad():
        torch.testing.assert_close(model[:2](test[0]), source.eval()[:2](test[0]))


def test_first_of_each_has_as_many_of_each_class():
    x, y = transfer.first_of_each(transfer.halves(0)[1], 7)
    assert y.bincount().tolist() == [7] * 5
    assert len(x) == 35
