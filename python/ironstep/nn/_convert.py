"""Give a model's batch normalizations the native kernels, and take them away again."""

import itertools
import operator
import sys
import warnings
from collections import Counter
from typing import Any, ClassVar, Literal, TypeGuard, TypeVar

import torch
from torch import nn

from ironstep.nn._batchnorm import _OWN, BatchNorm

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def convert_batchnorm(model: ModuleT, *, fuse: bool = True) -> ModuleT:
    """Make a model's batch normalizations those of `ironstep.nn`, in place.

    The module objects stay, with their parameters, buffers, hooks and names: optimizers, state
    dicts and references from elsewhere go on as before. `revert_batchnorm` undoes it.

    Parameters
    ----------
    model : Module
        Each module in it of exactly `torch.nn.BatchNorm1d`, ``2d`` or ``3d`` is converted.
        Subclasses, lazy layers and layers whose ``forward`` was replaced stay as they are, and so
        does SyncBatchNorm, with a warning.
    fuse : bool
        Also compute in the same pass a ReLU that follows, and a residual addition before it: in
        `torch.nn.Sequential`, and in torchvision's ResNet, BasicBlock and Bottleneck. Layers that
        have hooks or are used in several places are not fused. In a Sequential the ReLU becomes a
        layer that does nothing, so that numbers and names stay.

    Returns
    -------
    Module
        The same object.

    Warns
    -----
    UserWarning
        If there are SyncBatchNorm layers.

    Notes
    -----
    A fused layer's output is that of the ReLU. Programs that take single layers out of a
    Sequential or a block, or that hook onto a batch normalization later, see the difference.
    So does whatever builds other modules out of these: call `revert_batchnorm` before
    `torch.jit.script`, ``SyncBatchNorm.convert_sync_batchnorm`` and ``fuse_conv_bn_eval``, which
    raise a RuntimeError if it was forgotten.

    Examples
    --------
    >>> from torch import nn
    >>> import ironstep
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> ironstep.nn.convert_batchnorm(model) is model
    True
    >>> type(model[1]), model[1].activation
    (<class 'ironstep.nn._batchnorm.BatchNorm2d'>, 'relu')
    >>> type(ironstep.nn.revert_batchnorm(model)[1])
    <class 'torch.nn.modules.batchnorm.BatchNorm2d'>
    """
    synchronized = []
    for name, module in model.named_modules():
        ours = _OWN.get(type(module))
        if ours is not None and "forward" not in module.__dict__:
            _become(module, ours)
            module._converted = True
        elif isinstance(module, nn.SyncBatchNorm):
            synchronized.append(name)
    if fuse:
        _fuse(model)
    if synchronized:
        names = ", ".join(map(repr, synchronized))
        warnings.warn(f"SyncBatchNorm layers stay as they are: {names}", stacklevel=2)
    return model


def revert_batchnorm(model: ModuleT) -> ModuleT:
    """Undo `convert_batchnorm`, in place: classes, outputs and representation are as they were.

    Layers that were made as `ironstep.nn.BatchNorm1d`, ``2d`` or ``3d`` stay so.

    Parameters
    ----------
    model : Module
        Converted or not.

    Returns
    -------
    Module
        The same object.

    Raises
    ------
    ValueError
        If a converted layer is frozen: torch's class would go on to update it; if somebody has
        put another class in front of that of a converted layer since, as parametrizations do; or if
        a layer was fused with one that is no part of this model. Nothing has been changed then.
    """
    held = _held_with_the_next(model)
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm) and module._converted and module.frozen:
            raise ValueError(f"model: layer {name!r} is frozen; unfreeze() it first")
        if _is_of_another_class(module):
            raise ValueError(
                f"model: {name!r} was made a {type(module).__name__} after it was converted; "
                "undo that first (torch.nn.utils.parametrize.remove_parametrizations, say)"
            )
        if isinstance(module, BatchNorm) and module._fused and id(module) not in held:
            raise ValueError(
                f"model: layer {name!r} was fused with one that follows it elsewhere; "
                "revert the model that holds both"
            )
    for module in model.modules():
        if isinstance(module, _InBatchNorm):
            _become(module, nn.ReLU)
        elif isinstance(module, _FusedBlock):
            _become(module, module._block_class)
        elif isinstance(module, BatchNorm):
            _unfuse(module)
    return model


def _become(module: Any, cls: type[nn.Module]) -> None:
    """Make the same object one of another class."""
    module.__class__ = cls


def _held_with_the_next(model: nn.Module) -> set[int]:
    """The modules that are in the model together with what was fused into them, if anything was."""
    held: set[int] = set()
    for module in model.modules():
        children = [id(child) for child in module._modules.values()]
        if isinstance(module, _FusedBlock):
            held.update(children)
        elif type(module).forward is nn.Sequential.forward:
            held.update(children[:-1])
    return held


def _is_of_another_class(module: nn.Module) -> bool:
    """Whether a converted module is not of the class any more that it was given."""
    given: object = type(module)
    if isinstance(module, _InBatchNorm):
        given = _InBatchNorm
    elif isinstance(module, _FusedBlock):
        given = _fused_class(module._block_class, module._source)
    elif isinstance(module, BatchNorm) and (module._converted or module._fused):
        given = _OWN[module._torch_class]
    return type(module) is not given


def _unfuse(layer: BatchNorm) -> None:
    own = layer.__dict__
    if layer._fused is not None:
        del own["_fused"], own["activation"]
    if layer._converted:
        del own["_converted"]
        own.pop("_requires_grad", None)
        _become(layer, layer._torch_class)


def _fuse(model: nn.Module) -> None:
    uses = _Uses(model)
    for module in list(model.modules()):
        if "forward" in module.__dict__:
            continue
        if type(module).forward is nn.Sequential.forward:
            _fuse_sequential(module, uses)
        elif _is_torchvisions_block(module):
            _fuse_block(module, uses)


def _is_torchvisions_block(module: nn.Module) -> bool:
    """Whether it is one of those whose forward can be traced, and runs torchvision's own code."""
    torchvision = sys.modules.get("torchvision.models.resnet")
    names = ("ResNet", "BasicBlock", "Bottleneck")
    if type(module) not in [getattr(torchvision, name, None) for name in names]:
        return False
    methods = (getattr(module, name, None) for name in ("forward", "_forward_impl"))
    functions = (getattr(method, "__func__", method) for method in methods if method is not None)
    # A method that others have put there has other globals.
    return all(
        getattr(function, "__globals__", None) is vars(torchvision) for function in functions
    )


class _Uses:
    """Which layers of a model may be fused: nobody else sees what is between them."""

    def __init__(self, model: nn.Module) -> None:
        self.places = Counter(
            id(child)
            for module in model.modules()
            for child in module._modules.values()
            if child is not None
        )

    def once(self, module: object) -> bool:
        return self.places[id(module)] == 1

    def normalizes(self, module: object) -> bool:
        """Whether something may be taken into this layer."""
        return (
            isinstance(module, BatchNorm)
            and type(module) is _OWN.get(module._torch_class)
            and module.activation is None
            and self.once(module)
            and _is_untouched(module)
        )


def _rectifies(module: object) -> bool:
    return type(module) is nn.ReLU and _is_untouched(module)


def _is_untouched(module: nn.Module) -> bool:
    """Whether a module does what its class does, with nobody listening."""
    return "forward" not in module.__dict__ and not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


class _InBatchNorm(nn.Identity):
    """A ReLU that the batch normalization before it has done."""

    def extra_repr(self) -> str:
        return "ReLU, done by the batch norm before"

    def _get_name(self) -> str:
        return "Identity"


def _fuse_sequential(sequence: nn.Module, uses: _Uses) -> None:
    layers: list[Any] = list(sequence._modules.values())
    for layer, following in itertools.pairwise(layers):
        if uses.normalizes(layer) and _rectifies(following) and uses.once(following):
            layer.activation, layer._fused = "relu", "relu"
            _become(following, _InBatchNorm)


class _Tracer(torch.fx.Tracer):
    """Sees a block's own operations; its layers are calls."""

    def is_leaf_module(self, *_: Any) -> bool:
        return True


_ADDITIONS = (operator.add, operator.iadd, torch.add)


def _fuse_block(block: nn.Module, uses: _Uses) -> None:
    """Let the batch normalizations of a block do the additions and ReLUs that follow them."""
    graph = _Tracer().trace(block)
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")

    def normalizes(node: object) -> bool:
        return (
            _is_call(node)
            and calls[node.target] == 1
            and len(node.users) == 1
            and uses.normalizes(block.get_submodule(node.target))
        )

    fused: dict[str, Literal["relu", "add and relu"]] = {}
    for node in list(graph.nodes):
        if not (_is_call(node) and _rectifies(block.get_submodule(node.target))):
            continue
        source, residual, replaced = node.args[0], (), [node]
        if source.target in _ADDITIONS and len(source.args) == 2 and len(source.users) == 1:
            replaced.append(source)
            # The first that may: an addition in place writes to its first operand alone.
            source, residual = source.args[0], source.args[1:]
        if not normalizes(source):
            continue
        with graph.inserting_before(node):
            call = graph.call_module(source.target, (*source.args, *residual))
        node.replace_all_uses_with(call)
        for old in (*replaced, source):
            graph.erase_node(old)
        fused[source.target] = "add and relu" if residual else "relu"
    if not fused:
        return
    # Compiled before anything is changed.
    _become(block, _fused_class(type(block), graph.python_code("self").src))
    for name, what in fused.items():
        layer: Any = block.get_submodule(name)
        layer.activation, layer._fused = "relu", what


def _is_call(node: object) -> TypeGuard[Any]:
    return isinstance(node, torch.fx.Node) and node.op == "call_module"


class _FusedBlock(nn.Module):
    """In front of a block's class: a forward that calls fused layers."""

    _block_class: ClassVar[type[nn.Module]]
    _source: ClassVar[str]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time: what makes it again is pickled in its place.
        state: Any = super().__reduce_ex__(protocol)
        return (_new_block, (self._block_class, self._source), *state[2:])


def _new_block(block_class: type[nn.Module], source: str) -> nn.Module:
    cls = _fused_class(block_class, source)
    return cls.__new__(cls)


_FUSED_CLASSES: dict[tuple[Any, str], type[nn.Module]] = {}


def _fused_class(block_class: type[nn.Module], source: str) -> type[nn.Module]:
    """The block's class with this forward; the same for equal blocks."""
    known = _FUSED_CLASSES.get((block_class, source))
    if known is not None:
        return known
    namespace: dict[str, Any] = {"torch": torch}
    exec(compile(source, f"<{block_class.__name__}, fused>", "exec"), namespace)
    body = {name: getattr(block_class, name) for name in ("__module__", "__qualname__", "__doc__")}
    body |= {"_block_class": block_class, "_source": source, "forward": namespace["forward"]}
    made = type(block_class.__name__, (_FusedBlock, block_class), body)
    return _FUSED_CLASSES.setdefault((block_class, source), made)
