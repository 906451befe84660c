"""A step of a semi-supervised generative adversarial network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ironstep.nn import SemiSupervisedGANLoss

from ._mixup import Mode, _check_mode, mixup_real_fake
from ._transfer import feature_extractor


class SemiSupervisedGANStep:
    """Trains a classifier, which is the discriminator too, and a generator, by a step each.

    The classifier's K logits stand for K classes and, as the logit 0, for what is generated; see
    `ironstep.nn.SemiSupervisedGANLoss` for the terms. It minimizes supervised + unlabelled + fake; the
    generator then matches features, or minimizes -log D(G(z)).

    Parameters
    ----------
    classifier : Module
        From samples to logits (N, K).
    generator : Module
        From noise to samples.
    classifier_optimizer, generator_optimizer : Optimizer
        Of their parameters.
    loss : SemiSupervisedGANLoss, optional
    features : str, optional
        Name of the classifier's layer whose mean output the generator matches (on unlabelled samples); if
        left out, it minimizes -log D(G(z)).
    mixup : float >= 0
        If above 0, real and generated samples are mixed, x̃ = λx + (1 - λ)G(z) with λ ~ Beta(mixup, mixup),
        and -λ log D(x̃) - (1 - λ) log(1 - D(x̃)) takes the place of unlabelled + fake.
    mixup_mode : {"batch", "pair", "element"}
        As in `mixup_real_fake`.

    Raises
    ------
    ValueError
        If there is no such layer; for a negative `mixup` and another mode.

    References
    ----------
    Salimans et al. (2016), Improved techniques for training GANs. Zhang et al. (2018), mixup.

    Examples
    --------
    >>> import torch, ironstep
    >>> from ironstep.train import SemiSupervisedGANStep
    >>> classifier, generator = torch.nn.Linear(4, 3), torch.nn.Linear(2, 4)
    >>> step = SemiSupervisedGANStep(
    ...     classifier,
    ...     generator,
    ...     ironstep.optim.Adam(classifier.parameters()),
    ...     ironstep.optim.Adam(generator.parameters()),
    ... )
    >>> labelled, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> losses = step(labelled, target, unlabelled=torch.randn(8, 4), noise=torch.randn(8, 2))
    >>> sorted(losses)
    ['fake', 'generator', 'supervised', 'unlabelled']
    """

    def __init__(
        self,
        classifier: nn.Module,
        generator: nn.Module,
        classifier_optimizer: torch.optim.Optimizer,
        generator_optimizer: torch.optim.Optimizer,
        *,
        loss: SemiSupervisedGANLoss | None = None,
        features: str | None = None,
        mixup: float = 0.0,
        mixup_mode: Mode = "batch",
    ) -> None:
        if not 0 <= mixup < float("inf"):
            raise ValueError(f"mixup: got {mixup!r}; a number of 0 or more expected")
        _check_mode(mixup_mode)
        self.classifier, self.generator = classifier, generator
        self.classifier_optimizer = classifier_optimizer
        self.generator_optimizer = generator_optimizer
        self.loss = loss or SemiSupervisedGANLoss()
        self.features = None if features is None else feature_extractor(classifier, features)
        self.mixup, self.mixup_mode = mixup, mixup_mode

    def __call__(
        self,
        labelled: Tensor,
        target: Tensor,
        *,
        unlabelled: Tensor,
        noise: Tensor,
        random: torch.Generator | None = None,
    ) -> dict[str, float]:
        """Do the step of the classifier and then that of the generator.

        Parameters
        ----------
        labelled : Tensor of shape (N, ...)
        target : Tensor of int64 of shape (N,)
            Their classes.
        unlabelled : Tensor of shape (M, ...)
        noise : Tensor of shape (M, ...)
            What the generator takes; as many as unlabelled samples if they are mixed.
        random : torch.Generator, optional
            Of the mixing; torch's own if left out.

        Returns
        -------
        dict of float
            The terms before the step: ``"supervised"``, ``"unlabelled"`` and ``"fake"``, or ``"mixed"`` in
            the place of the latter two; ``"generator"``, by the classifier after its step.
        """
        made = self.generator(noise)
        terms = {"supervised": self.loss.supervised(self.classifier(labelled), target)}
        if self.mixup:
            mixed, real = mixup_real_fake(
                unlabelled, made.detach(), self.mixup, self.mixup_mode, generator=random
            )
            logit = self.loss.realness(self.classifier(mixed))
            terms["mixed"] = F.binary_cross_entropy_with_logits(logit, real)
        else:
            terms["unlabelled"] = self.loss.unlabelled(self.classifier(unlabelled))
            terms["fake"] = self.loss.fake(self.classifier(made.detach()))
        self.classifier_optimizer.zero_grad()
        _backward(sum(terms.values(), torch.zeros(())))
        self.classifier_optimizer.step()

        with _constant(self.classifier):
            if self.features is None:
                terms["generator"] = self.loss.generator(self.classifier(made))
            else:
                with torch.no_grad():
                    wanted = self.features(unlabelled)
                terms["generator"] = self.loss.feature_matching(wanted, self.features(made))
            self.generator_optimizer.zero_grad()
            _backward(terms["generator"])
        self.generator_optimizer.step()
        return {name: term.item() for name, term in terms.items()}


def _backward(loss: Any) -> None:
    loss.backward()


@contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Compute no gradients of these parameters: what goes through the module goes to the generator."""
    trained = [each for each in module.parameters() if each.requires_grad]
    for each in trained:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in trained:
            each.requires_grad_(True)
