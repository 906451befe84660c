"""The step of a semi-supervised GAN is that of the formulas, in float64."""

import copy

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import ironstep
from ironstep.train import SemiSupervisedGANStep


def networks():
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    generator = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    return classifier, generator


def samples():
    draw = torch.Generator().manual_seed(1)
    labelled, unlabelled, noise = (
        torch.randn(n, size, generator=draw, dtype=torch.float64)
        for n, size in ((5, 4), (7, 4), (7, 2))
    )
    return dict(
        labelled=labelled,
        target=torch.tensor([0, 1, 2, 1, 0]),
        unlabelled=unlabelled,
        noise=noise,
    )


def make(classifier, generator, **options):
    return SemiSupervisedGANStep(
        classifier,
        generator,
        ironstep.optim.SGD(classifier.parameters(), lr=0.1),
        ironstep.optim.SGD(generator.parameters(), lr=0.2),
        **options,
    )


def by_formulas(classifier, generator, given, features, lam):
    """Both steps by K + 1 classes, with the fake logit 0, and plain gradients."""

    def probabilities(x):
        logits = classifier(x)
        return torch.softmax(torch.cat([logits, logits.new_zeros(len(x), 1)], 1), 1)

    def descend(network, loss, lr):
        parameters = list(network.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= lr * gradient

    made = generator(given["noise"])
    logits = classifier(given["labelled"])
    supervised = -torch.log_softmax(logits, 1)[range(5), given["target"]].mean()
    if lam is None:
        unlabelled = -(1 - probabilities(given["unlabelled"])[:, -1]).log().mean()
        fake = -probabilities(made.detach())[:, -1].log().mean()
        terms = dict(supervised=supervised, unlabelled=unlabelled, fake=fake)
    else:
        mixed = lam[:, None] * given["unlabelled"] + (1 - lam[:, None]) * made.detach()
        is_fake = probabilities(mixed)[:, -1]
        loss = -(lam * (1 - is_fake).log() + (1 - lam) * is_fake.log())
        terms = dict(supervised=supervised, mixed=loss.mean())
    descend(classifier, sum(terms.values()), 0.1)
    if features:
        real, faked = (classifier[:2](x).mean(0) for x in (given["unlabelled"], made))
        terms["generator"] = (real.detach() - faked).pow(2).sum()
    else:
        terms["generator"] = -(1 - probabilities(made)[:, -1]).log().mean()
    descend(generator, terms["generator"], 0.2)
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("features", [None, "1"])
@pytest.mark.parametrize("mode", [None, "batch", "element"])
def test_both_networks_go_where_the_formulas_say(features, mode):
    theirs, ours = networks(), networks()
    options = {} if mode is None else dict(mixup=0.4, mixup_mode=mode)
    lam = None
    if mode is not None:
        _, lam = ironstep.train.mixup_real_fake(
            samples()["unlabelled"],
            samples()["unlabelled"],
            0.4,
            mode,
            generator=torch.Generator().manual_seed(3),
        )
    found = make(*ours, features=features, **options)(
        **samples(), random=torch.Generator().manual_seed(3)
    )
    wanted = by_formulas(*theirs, samples(), features, lam)
    assert found == pytest.approx(wanted, rel=1e-12)  # float64, a few roundings
    for a, b in zip(ours, theirs, strict=True):
        for mine, other in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)


def test_the_generators_step_leaves_nothing_in_the_classifier():
    classifier, generator = networks()
    classifier[0].bias.requires_grad_(False)
    step = make(classifier, generator)
    step(**samples())
    gradient = classifier[2].weight.grad.clone()
    before = copy.deepcopy(classifier.state_dict())
    step.classifier_optimizer.step = lambda: None
    step(**samples())
    assert [p.requires_grad for p in classifier.parameters()] == [True, False, True, True]
    assert torch.equal(before["0.bias"], classifier[0].bias)
    assert not torch.equal(gradient, classifier[2].weight.grad)


def test_a_classifier_learns_beside_its_generator():
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2))
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    step = SemiSupervisedGANStep(
        classifier,
        generator,
        ironstep.optim.Adam(classifier.parameters(), lr=1e-2),
        ironstep.optim.Adam(generator.parameters(), lr=1e-2),
        features="1",
    )
    labels = torch.arange(2).repeat(50)
    centres = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    for _ in range(200):
        x = centres[labels] + torch.randn(100, 2) * 0.3
        losses = step(x[:4], labels[:4], unlabelled=x, noise=torch.randn(100, 4))
    assert losses["supervised"] < 0.1
    assert (classifier(centres).argmax(1) == torch.tensor([0, 1])).all()
    made = generator(torch.randn(200, 4))
    assert made.abs().mean() < 10  # it stays where the samples are


def test_wrong_arguments():
    with pytest.raises(ValueError, match="no layer"):
        make(*networks(), features="nothing")
    with pytest.raises(ValueError, match="mixup: got -1"):
        make(*networks(), mixup=-1)
    with pytest.raises(ValueError, match="mode: got"):
        make(*networks(), mixup_mode="all")
