"""The terms of a semi-supervised generative adversarial network's loss."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own abbreviation)

from ironstep.nn._loss import CrossEntropyLoss


class SemiSupervisedGANLoss(torch.nn.Module):
    """Losses of a classifier of K classes that also tells real from generated samples.

    The classifier's K logits l stand for K + 1 classes: that of the generated samples has the logit 0.
    With Z = logsumexp(l), a sample is real with probability D = e^Z / (e^Z + 1), and::

        supervised        -log p(y | x, real)     = -l_y + Z
        unlabelled        -log D(x)               = softplus(-Z)
        fake              -log(1 - D(G(z)))       = softplus(Z)
        generator         -log D(G(z))            = softplus(-Z)
        feature matching  ‖E f(x) - E f(G(z))‖²

    Each is a mean over its batch, and finite however large the logits are. `forward` is the
    discriminator's loss, the sum of the first three; the generator minimizes one of the last two.

    Parameters
    ----------
    label_smoothing : float in [0, 1]
        Of the supervised term.
    smoothing : {"szegedy", "lecture", "normalized"}
        Its form; see `CrossEntropyLoss`.

    References
    ----------
    Salimans et al. (2016), Improved techniques for training GANs, sections 3.1 and 5.

    Examples
    --------
    >>> import torch, ironstep
    >>> loss = ironstep.nn.SemiSupervisedGANLoss()
    >>> labelled, target = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> unlabelled, fake = torch.tensor([[0.0, 1.0]]), torch.tensor([[-1.0, -3.0]])
    >>> loss(labelled, target, unlabelled, fake)
    tensor(0.7141)
    >>> loss.generator(fake)
    tensor(1.2221)
    """

    def __init__(self, *, label_smoothing: float = 0.0, smoothing: str = "szegedy") -> None:
        super().__init__()
        self.cross_entropy = CrossEntropyLoss(label_smoothing=label_smoothing, smoothing=smoothing)

    def forward(self, labelled: Tensor, target: Tensor, unlabelled: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss.

        Parameters
        ----------
        labelled, unlabelled, fake : Tensor of shape (N, K)
            Logits of real samples with and without labels, and of generated ones; N may differ.
        target : Tensor of shape (N,)
            The classes of `labelled`.
        """
        return self.supervised(labelled, target) + self.unlabelled(unlabelled) + self.fake(fake)

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean of -log p(y | x, real) = -l_y + Z."""
        loss: Tensor = self.cross_entropy(logits, target)
        return loss

    def unlabelled(self, logits: Tensor) -> Tensor:
        """Return the mean of -log D(x) = softplus(-Z), for real samples without a label."""
        # Not F.softplus: beyond its threshold it drops the last digits.
        return -F.logsigmoid(self.realness(logits)).mean()

    def fake(self, logits: Tensor) -> Tensor:
        """Return the mean of -log(1 - D(G(z))) = softplus(Z), for generated samples."""
        return -F.logsigmoid(-self.realness(logits)).mean()

    def generator(self, logits: Tensor) -> Tensor:
        """Return the mean of -log D(G(z)), what a generator minimizes to be taken for real."""
        return self.unlabelled(logits)

    def feature_matching(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return ‖E f(x) - E f(G(z))‖², the other loss of a generator.

        Parameters
        ----------
        real, fake : Tensor of shape (N, ...)
            What an inner layer of the classifier makes of real and of generated samples. The former
            is a constant here.
        """
        return (real.detach().mean(0) - fake.mean(0)).square().sum()

    @staticmethod
    def realness(logits: Tensor) -> Tensor:
        """Return Z = logsumexp(l); the sample is real with the probability sigmoid(Z)."""
        return torch.logsumexp(logits, 1)
