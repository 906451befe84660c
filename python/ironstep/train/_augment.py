"""Augmentation by torchvision's transforms, each image by its own seed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ironstep._input_error import InputError, shown

NAMES = ("autoaugment", "crop", "erase", "flip", "resize", "rotate", "translate", "vflip")


def augmentation(names: Sequence[str], size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Compose transforms of images, with settings that suit small medical images.

    Parameters
    ----------
    names : sequence of str
        In this order: ``"flip"`` (left and right, by chance), ``"vflip"``, ``"rotate"`` (up to 15
        degrees), ``"translate"`` (up to a tenth), ``"crop"`` (padded by an eighth, and cut out at
        random), ``"resize"`` (a part of 70 to 100% of the area, made as large as the whole), ``"erase"``
        (a rectangle, by half a chance), ``"autoaugment"`` (the policy of ImageNet).
    size : (int, int)
        Height and width of the images.

    Returns
    -------
    callable
        From a uint8 tensor (C, H, W) or (N, C, H, W) to one of the same shape. Random numbers are
        torch's. A batch is transformed alike; `augmented` gives each image its own.

    Raises
    ------
    InputError
        A ValueError of one line: for a name that is none, and if torchvision is not installed.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import augmentation
    >>> augment = augmentation(["flip", "rotate"], (28, 28))
    >>> augment(torch.zeros(1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([1, 28, 28])
    """
    for name in names:
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(f"augment: no {shown(name)}; {hint}there are {', '.join(NAMES)}")
    try:
        from torchvision.transforms import InterpolationMode, v2
    except ImportError:
        raise InputError("augment: needs torchvision: pip install torchvision") from None
    smooth = InterpolationMode.BILINEAR
    padding = [max(1, size[1] // 8), max(1, size[0] // 8)]
    known = {
        "autoaugment": lambda: v2.AutoAugment(interpolation=smooth),
        "crop": lambda: v2.RandomCrop(size, padding=padding),
        "erase": lambda: v2.RandomErasing(),
        "flip": lambda: v2.RandomHorizontalFlip(),
        "resize": lambda: v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
        "rotate": lambda: v2.RandomRotation(15, interpolation=smooth),
        "translate": lambda: v2.RandomAffine(0, translate=(0.1, 0.1), interpolation=smooth),
        "vflip": lambda: v2.RandomVerticalFlip(),
    }
    composed: Callable[[Tensor], Tensor] = v2.Compose([known[name]() for name in names])
    return composed


def augmented(
    augment: Callable[[Tensor], Tensor], images: Tensor, seeds: Tensor | Sequence[int]
) -> Tensor:
    """Transform each image by random numbers of its own seed.

    What becomes of an image then depends on its seed alone: not on its batch, nor on the process that
    does it. torch's generator is as it was afterwards.

    Parameters
    ----------
    augment : callable
        From (C, H, W) to a tensor of the same shape for all.
    images : Tensor of shape (N, C, H, W)
    seeds : Tensor of int64 of shape (N,), or sequence of int

    Returns
    -------
    Tensor
        The transformed images, stacked.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import augmentation, augmented
    >>> images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    >>> both = augmented(augmentation(["crop"], (8, 8)), images, [1, 2, 3, 4])
    >>> one = augmented(augmentation(["crop"], (8, 8)), images[2:3], [3])
    >>> torch.equal(both[2:3], one)
    True
    """
    before = torch.get_rng_state()
    generator = torch.default_generator
    made = []
    try:
        for image, seed in zip(images, map(int, seeds), strict=True):
            generator.manual_seed(seed)
            made.append(augment(image))
    finally:
        torch.set_rng_state(before)
    return torch.stack(made)
