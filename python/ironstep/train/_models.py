"""Networks by their names, and weights from a file."""

from __future__ import annotations

import copy
import difflib
import importlib
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ironstep._input_error import InputError, shown

from ._data import _OBJECT, _line, import_object

OWN = ("mlp", "small-cnn")
# torchvision adds classifiers to the inner layers of these, for training alone.
_WITH_AUXILIARY = ("googlenet", "inception_v3")


class Standardize(nn.Module):
    """Inputs as a network takes them: (x - mean) / deviation, in float32.

    Parameters
    ----------
    mean, deviation : Tensor
        One for each channel of images, (C, 1, 1), or each column of a table, (F,).
    channels : int, optional
        What images are repeated to, if they have one channel.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, channels: int | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        # What never varies stays where it is.
        self.register_buffer("factor", torch.where(deviation > 0, 1 / deviation, 1.0).float())
        self.channels = channels

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs as float32."""
        made = torch.sub(inputs, self.mean).mul_(self.factor)
        if self.channels is not None and made.shape[1] != self.channels:
            made = made.expand(-1, self.channels, -1, -1)
        return made

    @classmethod
    def of(cls, inputs: Tensor, channels: int | None = None) -> Standardize:
        """Return the one after which the mean of these inputs is 0 and their deviation 1."""
        if inputs.dim() == 2:
            of_columns = inputs.double()
            return cls(of_columns.mean(0), of_columns.std(0, correction=0))
        counts = torch.zeros(inputs.shape[1], 256, dtype=torch.float64)
        for some in torch.split(inputs, 1024):  # a count wants eight bytes a pixel
            for channel, of in enumerate(counts):
                of += torch.bincount(some[:, channel].flatten().long(), minlength=256)
        values = torch.arange(256, dtype=torch.float64)
        means = torch.stack([(of * values).sum() / of.sum() for of in counts])
        squares = torch.stack(
            [
                (of * (values - mean) ** 2).sum() / of.sum()
                for of, mean in zip(counts, means, strict=True)
            ]
        )
        return cls(means[:, None, None], squares.sqrt()[:, None, None], channels)


def small_cnn(channels: int, n_classes: int, width: int = 16) -> nn.Module:
    """Return five convolutions with batch norm and ReLU, for small images.

    Parameters
    ----------
    channels, n_classes : int
    width : int
        Channels of the first convolution; the last has eight times as many.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import small_cnn
    >>> small_cnn(1, 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def block(before: int, after: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(channels, width),
        *block(width, 2 * width, 2),
        *block(2 * width, 2 * width),
        *block(2 * width, 4 * width, 2),
        *block(4 * width, 8 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, n_classes),
    )


def mlp(n_inputs: int, n_classes: int, widths: tuple[int, ...] = (256, 128)) -> nn.Module:
    """Return dense layers with batch norm and ReLU, for tables and small images.

    Parameters
    ----------
    n_inputs, n_classes : int
    widths : tuple of int
        Of the layers between.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import mlp
    >>> mlp(30, 2)(torch.zeros(4, 30)).shape
    torch.Size([4, 2])
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [
            nn.Linear(n_inputs, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
        ]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_classes))


def make_model(name: str, shape: tuple[int, ...], n_classes: int) -> tuple[nn.Module, int | None]:
    """Return a network, and the channels that its images must have.

    Parameters
    ----------
    name : str
        ``small-cnn``, ``mlp``, a classifier of torchvision, ``timm:name``, or ``module:name``: a Module,
        or a function of the shape of an input and the number of classes that returns one.
    shape : tuple of int
        Of an input: (C, H, W) or (F,).
    n_classes : int

    Raises
    ------
    InputError
        A ValueError of one line.
    """
    images = len(shape) == 3
    if name == "mlp":
        return mlp(int(torch.Size(shape).numel()), n_classes), None
    if name.startswith("timm:"):
        _check_images(name, images)
        return _timm(name.removeprefix("timm:"), n_classes, shape[0]), None
    if _OBJECT.fullmatch(name):
        found = import_object(name, "model")
        made = copy.deepcopy(found)
        if not isinstance(found, nn.Module) and callable(found):
            made = found(shape, n_classes)
        if not isinstance(made, nn.Module):
            raise InputError(f"model {name}: got {type(made).__name__}; a torch.nn.Module expected")
        return made, None
    if name == "small-cnn":
        _check_images(name, images)
        return small_cnn(shape[0], n_classes), None
    try:
        # By its name: torchvision has no types.
        models: Any = importlib.import_module("torchvision.models")
    except ImportError:
        raise InputError(
            f"model: no {shown(name)} among {', '.join(OWN)}; for others: pip install torchvision"
        ) from None
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*OWN, *known], 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(OWN)}"
        raise InputError(
            f"model: no {shown(name)}; {hint} (or any classifier of torchvision, timm:name, module:name)"
        )
    _check_images(name, images)
    options = dict(aux_logits=False, init_weights=True) if name in _WITH_AUXILIARY else {}
    made = models.get_model(name, weights=None, num_classes=n_classes, **options)
    return made, 3


def _check_images(name: str, images: bool) -> None:
    if not images:
        raise InputError(f"model {name}: takes images, and the data are a table; mlp takes both")


def _timm(name: str, n_classes: int, channels: int) -> nn.Module:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError:
        raise InputError(f"model timm:{name}: needs timm: pip install timm") from None
    if not timm.is_model(name):
        raise InputError(f"model: timm has no {shown(name)}")
    made: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=n_classes, in_chans=channels
    )
    return made


def check_model(name: str, network: nn.Module, inputs: Tensor, n_classes: int) -> None:
    """Let it predict two cases; what it cannot take is one line."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logits = network(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        larger = "; --size makes images larger" if inputs.dim() == 4 else ""
        raise InputError(
            f"model {name}: does not take inputs of shape {tuple(inputs.shape[1:])}{larger}: {_line(error)}"
        ) from None
    finally:
        network.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (len(inputs), n_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"model {name}: returns {got} for two cases; {(len(inputs), n_classes)} expected"
        )


def load_weights(network: nn.Module, path: Path | str) -> tuple[str, ...]:
    """Load a network's weights from a local file, all but those of its last layer if they do not fit.

    Parameters
    ----------
    network : Module
    path : path
        A state dict, or a dict that has one as ``"network"``, ``"model"`` or ``"state_dict"``; such as
        torchvision's files and the checkpoints of `ironstep train`. Nothing in it is executed.

    Returns
    -------
    tuple of str
        Parameters that were left as they are: those of layers with one output for each class.

    Raises
    ------
    InputError
        A ValueError of one line: for a file that cannot be read, and where anything else than the
        classes differs. Nothing has been changed then.
    """
    path = Path(path)
    found = read_torch(path)
    for name in ("network", "model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise InputError(f"{path}: holds no state dict")
    given = {str(name).removeprefix("module."): each for name, each in found.items()}
    own = network.state_dict()
    # Of classifiers on inner layers, which are for training alone.
    given = {
        name: each
        for name, each in given.items()
        if name in own or not name.lower().startswith(("aux", "auxlogits"))
    }
    missing = sorted(own.keys() - given.keys())
    foreign = sorted(given.keys() - own.keys())
    # torch itself takes state dicts without this one, as old files are.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or foreign:
        what = f"lacks {shown(missing[0])}" if missing else f"has {shown(foreign[0])} too many"
        raise InputError(f"{path}: is of another model: it {what}")
    differing = [name for name in own if name in given and own[name].shape != given[name].shape]
    for name in differing:
        # One number a class, and the rest the same.
        if (
            own[name].shape[1:] != given[name].shape[1:]
            or name.rpartition(".")[0] != last_layer(network)[0]
        ):
            raise InputError(
                f"{path}: {name} has shape {tuple(given[name].shape)}; {tuple(own[name].shape)} expected"
            )
    kept = OrderedDict((name, each) for name, each in given.items() if name not in differing)
    if hasattr(found, "_metadata"):  # versions, which some of torchvision's networks ask for
        kept._metadata = found._metadata  # type: ignore[attr-defined]
    network.load_state_dict(kept, strict=False)
    return tuple(differing)


def last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """Return name and module of the last layer, which makes a number for each class."""
    layers = [
        (name, each)
        for name, each in network.named_modules()
        if isinstance(each, nn.Linear | nn.Conv2d)
    ]
    if not layers:
        raise ValueError("model: has no linear layer and no convolution")
    return layers[-1]


def read_torch(path: Path) -> Any:
    """Return what a file of torch.save holds; tensors and plain objects alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        line = _line(error).partition(". ")[0]
        raise InputError(f"{path}: no file of weights alone: {line}") from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise InputError(f"{path}: cannot be read: {_line(error)}") from None
