"""Transfer: the features of a trained network, frozen; its top layers, trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ironstep._input_error import InputError, shown
from ironstep.nn import convert_batchnorm
from ironstep.nn._batchnorm import BatchNorm

from ._files import save
from ._models import last_layer, read_torch

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_FORMAT = "ironstep features 1"


class _ReachedError(Exception):
    """Carries what is asked for out of a network's forward."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


class FeatureExtractor(nn.Module):
    """What a network has computed up to some layer; `feature_extractor` makes it.

    Attributes
    ----------
    model : Module
        The network itself, not a copy.
    until : str or None
        The layer whose output this is; if None, it is the input of the last layer.
    """

    def __init__(self, model: nn.Module, until: str | None) -> None:
        super().__init__()
        self.model, self.until = model, until

    def forward(self, *inputs: Any) -> Tensor:
        """Run the network as far as the layer, and no farther.

        Raises
        ------
        RuntimeError
            If the network does not come to the layer.
        """

        def stop_after(_: nn.Module, __: Any, output: Tensor) -> None:
            raise _ReachedError(output)

        def stop_before(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            raise _ReachedError(given[0])

        # Of the moment: a network that is used otherwise, too, has no hook on it.
        if self.until is None:
            _, last = last_layer(self.model)
            handle = last.register_forward_pre_hook(stop_before)
        else:
            handle = self.model.get_submodule(self.until).register_forward_hook(stop_after)
        try:
            self.model(*inputs)
        except _ReachedError as reached:
            return reached.output
        finally:
            handle.remove()
        raise RuntimeError(f"until: the network did not come to {self.until or 'its last layer'!r}")


def feature_extractor(model: nn.Module, until: str | None = None) -> FeatureExtractor:
    """Return a module that computes what a network has made of its input at some layer.

    Parameters
    ----------
    model : Module
        Any network, of torchvision, of timm or your own. It is used, not copied.
    until : str, optional
        Name of a layer, as in ``model.named_modules()``; its output is returned. If left out, the input of
        the last layer with one output for each class.

    Returns
    -------
    FeatureExtractor

    Raises
    ------
    ValueError
        If there is no such layer.

    Notes
    -----
    The network runs until it comes to the layer, whatever way its forward takes. A batch normalization
    into which `convert_batchnorm` has fused a ReLU returns that of the ReLU.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import feature_extractor, small_cnn
    >>> model = small_cnn(1, 10)
    >>> feature_extractor(model)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 128])
    >>> feature_extractor(model, until="5")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 32, 14, 14])
    """
    if until is None:
        last_layer(model)
    else:
        _position(model, until)
    return FeatureExtractor(model, until)


def freeze(model: ModuleT, until: str | None = None) -> ModuleT:
    """Let a network's parameters be as they are, its batch normalizations with them.

    Parameters
    ----------
    model : Module
    until : str, optional
        Name of the last layer to be frozen, in the order of ``model.named_modules()``; all if left out.

    Returns
    -------
    Module
        The same object. ``requires_grad`` of the parameters is False; batch normalizations normalize by
        their running statistics from now on, also after ``train()``, and are made those of `ironstep.nn`
        for it.

    Raises
    ------
    ValueError
        If there is no such layer. Nothing has been changed then.

    See Also
    --------
    unfreeze_top : train the top layers of a frozen network.

    Examples
    --------
    >>> from ironstep.train import freeze, small_cnn
    >>> model = freeze(small_cnn(1, 10), until="8").train()
    >>> [name for name, each in model.named_parameters() if each.requires_grad]
    ['9.weight', '10.weight', '10.bias', '12.weight', '13.weight', '13.bias', '17.weight', '17.bias']
    >>> model[1].frozen, model[10].training
    (True, True)
    """
    modules = list(model.modules())
    end = len(modules) if until is None else _position(model, until)[1]
    for module in modules[:end]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            convert_batchnorm(module, fuse=False)
            if isinstance(module, BatchNorm):
                module.freeze()
    return model


def unfreeze_top(
    model: nn.Module, top: int | str | None, lr: float, *, decay: float = 1.0
) -> list[dict[str, Any]]:
    """Freeze a network but for its top layers, and give each of these a learning rate.

    Parameters
    ----------
    model : Module
    top : int, str or None
        How many layers are trained, None for all; or the name of the first of them, in the order of
        ``model.named_modules()``. A layer is a module that has parameters of its own; one with vectors
        alone, such as a normalization, belongs to the layer before it.
    lr : float
        Learning rate of the last layer.
    decay : float in (0, 1]
        Each layer's learning rate by that of the layer above it.

    Returns
    -------
    list of dict
        Parameter groups for an optimizer, the last layer first, with ``"params"``, ``"lr"``, and the
        layer's name as ``"name"``.

    Raises
    ------
    ValueError
        If there are not so many layers, or no such layer; and for a decay outside (0, 1]. Nothing has
        been changed then.

    Examples
    --------
    >>> import ironstep
    >>> from ironstep.train import small_cnn, unfreeze_top
    >>> groups = unfreeze_top(small_cnn(1, 10), 3, lr=1e-3, decay=0.5)
    >>> [(group["name"], group["lr"]) for group in groups]
    [('17', 0.001), ('12', 0.0005), ('9', 0.00025)]
    >>> optimizer = ironstep.optim.AdamW(groups)
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay: got {decay!r}; a number above 0 and at most 1 expected")
    names = [name for name, _ in model.named_modules()]
    modules = list(model.modules())
    layers: list[list[int]] = []
    first = _position(model, top)[0] if isinstance(top, str) else 0
    for place, module in enumerate(modules):
        own = list(module.parameters(recurse=False))
        if place < first or not own:
            continue
        if layers and all(parameter.dim() < 2 for parameter in own):
            layers[-1].append(place)
        else:
            layers.append([place])
    if isinstance(top, int):
        if not 0 < top <= len(layers):
            raise ValueError(f"top: got {top}; 1 to {len(layers)} layers expected")
        layers = layers[-top:]
    freeze(model)
    groups, seen = [], set()
    for below, layer in enumerate(reversed(layers)):
        params = []
        for place in layer:
            module = modules[place]
            if isinstance(module, BatchNorm):
                module.unfreeze()
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    params.append(parameter)
        groups.append({"params": params, "lr": lr * decay**below, "name": names[layer[0]]})
    return groups


def cached_features(
    extractor: nn.Module,
    inputs: Tensor,
    *,
    path: Path | str | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Compute the features of all inputs once, and keep them in a file.

    Parameters
    ----------
    extractor : Module
        From inputs to features: of `feature_extractor`, say. It predicts (``eval()``) while it is used here.
    inputs : Tensor of shape (N, ...)
    path : path, optional
        File of the features. If it has those of the same weights and the same inputs, they are read, and
        nothing is computed.
    prepare : callable, optional
        What is done to a batch of inputs before. If it is a Module, the file must be of the same.
    batch_size : int

    Returns
    -------
    Tensor of shape (N, ...)
        Without gradient, on the CPU.

    Raises
    ------
    InputError
        A ValueError of one line: if there is a file that holds no features, or none can be written.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import cached_features, feature_extractor, small_cnn
    >>> extractor = feature_extractor(small_cnn(1, 10))
    >>> cached_features(extractor, torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 128])
    """
    fingerprint = ""
    if path is not None:
        path = Path(path)
        fingerprint = _fingerprint(extractor, prepare, inputs)
        if path.exists():
            found = read_torch(path)
            if not isinstance(found, dict) or found.get("format") != _FORMAT:
                raise InputError(f"{path}: holds no features; it is left as it is")
            if found["fingerprint"] == fingerprint:
                features: Tensor = found["features"]
                return features
    device = next((each.device for each in extractor.parameters()), torch.device("cpu"))
    made = []
    with _predicting(extractor), torch.no_grad():
        for batch in torch.split(inputs, batch_size):
            batch = batch.to(device)
            made.append(extractor(batch if prepare is None else prepare(batch)).cpu())
    features = torch.cat(made)
    if path is not None:
        save(path, {"format": _FORMAT, "fingerprint": fingerprint, "features": features})
    return features


@contextmanager
def _predicting(module: nn.Module) -> Iterator[None]:
    before = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in before:
            each.training = training


def _fingerprint(extractor: nn.Module, prepare: object, inputs: Tensor) -> str:
    found = hashlib.sha256()
    found.update(repr((extractor, getattr(extractor, "until", None))).encode())
    states = [extractor.state_dict()]
    if isinstance(prepare, nn.Module):
        states.append(prepare.state_dict())
    for state in (*states, {"inputs": inputs}):
        for name, tensor in state.items():
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            whole = tensor.detach().cpu().contiguous().flatten()
            found.update(whole.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _position(model: nn.Module, name: str) -> tuple[int, int]:
    """Return where a layer begins and ends in the order of the modules."""
    places = [
        place
        for place, (each, _) in enumerate(model.named_modules())
        if each == name or each.startswith(f"{name}.")
    ]
    if not name or not places:
        top = ", ".join(name for name, _ in list(model.named_children())[:12])
        raise ValueError(f"no layer {shown(name)}; the topmost are {top}")
    return places[0], places[-1] + 1
