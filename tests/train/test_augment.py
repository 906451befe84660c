"""What becomes of an image depends on its seed alone."""

import pytest

pytest.importorskip("torchvision")

import torch

from ironstep.train import InputError, augmentation, augmented
from ironstep.train._augment import NAMES

IMAGES = torch.randint(
    256, (6, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_stay_and_something_changes(name, channels):
    augment, images = augmentation([name], (12, 10)), IMAGES[:, :channels]
    made = augmented(augment, images.repeat(5, 1, 1, 1), range(30))
    assert made.shape == (30, channels, 12, 10)
    assert made.dtype == torch.uint8
    assert not torch.equal(made, images.repeat(5, 1, 1, 1))


def test_an_image_is_its_own_whatever_its_batch():
    augment = augmentation(NAMES, (12, 10))
    seeds = torch.tensor([3, 1, 4, 1, 5, 9])
    together = augmented(augment, IMAGES, seeds)
    for row in range(6):
        assert torch.equal(
            augmented(augment, IMAGES[row : row + 1], seeds[row : row + 1])[0], together[row]
        )
    assert not torch.equal(augmented(augment, IMAGES, seeds + 1), together)


def test_torchs_generator_is_as_it_was():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    augmented(augmentation(["rotate"], (12, 10)), IMAGES, range(6))
    assert torch.equal(torch.rand(3), wanted)

    def wrong(_):
        raise RuntimeError

    torch.manual_seed(0)
    with pytest.raises(RuntimeError):
        augmented(wrong, IMAGES, range(6))
    assert torch.equal(torch.rand(3), wanted)


def test_a_flip_flips_about_half():
    images = torch.arange(8, dtype=torch.uint8).reshape(1, 1, 1, 8).repeat(1000, 1, 1, 1)
    made = augmented(augmentation(["flip"], (1, 8)), images, range(1000))
    flipped = (made[:, 0, 0, 0] == 7).sum().item()
    assert 400 < flipped < 600  # six standard deviations are 95
    assert ((made[:, 0, 0, 0] == 7) | (made[:, 0, 0, 0] == 0)).all()


def test_a_name_that_is_none():
    with pytest.raises(InputError, match=r"no 'rotat'; did you mean rotate\?"):
        augmentation(["rotat"], (8, 8))


def test_without_torchvision_one_line_says_so(monkeypatch):
    import sys

    for name in [each for each in sys.modules if each.startswith("torchvision.transforms")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="pip install torchvision"):
        augmentation(["flip"], (8, 8))
