"""Data to train with: MedMNIST files, folders of images, scikit-learn's sets, a Python object."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ironstep._input_error import InputError, shown

from ._split import split

PARTS = ("train", "validation", "test")
SKLEARN = ("breast_cancer", "digits", "iris", "wine")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Names of a folder's parts, as they are found in the wild.
_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
# What a damaged archive, or one with pickled objects, ends in.
_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
)
_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the cases.

    Attributes
    ----------
    inputs : Tensor
        Images as uint8 of shape (N, C, H, W), or a table as float32 of shape (N, F).
    labels : Tensor
        Classes, int64 of shape (N,); or, where a case may be of several, 0 and 1 as float32 of shape (N, K).
    ids : tuple of str
        What the cases are called.
    groups : tuple of str or None
        Their patients.
    """

    inputs: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A part to train with, one to choose by and one to judge by.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    train, validation, test : Part
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part
    test: Part

    @classmethod
    def from_arrays(
        cls,
        inputs: Any,
        labels: Any,
        *,
        groups: Any = None,
        classes: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> Data:
        """Divide arrays into the three parts (60, 20 and 20%), with `split`.

        Parameters
        ----------
        inputs : array-like
            Images as uint8 of shape (N, H, W) or (N, H, W, C), or a table of shape (N, F).
        labels : array-like of shape (N,)
            Classes: 0, 1, … where `classes` is given, else any values.
        groups : array-like of shape (N,), optional
            Patients.
        classes : sequence of str, optional
            Their names, the labels themselves if left out.
        ids : sequence of str, optional
            Names of the cases, row numbers if left out.
        name : str

        Returns
        -------
        Data

        Raises
        ------
        InputError
            A ValueError of one line that says what is wrong with the arrays.

        Examples
        --------
        >>> import numpy as np
        >>> from ironstep.train import Data
        >>> data = Data.from_arrays(np.zeros((10, 8, 8), np.uint8), [0, 1] * 5)
        >>> data.train.inputs.shape, len(data.validation), data.classes
        (torch.Size([6, 1, 8, 8]), 2, ('0', '1'))
        """
        made = _inputs("inputs", np.asarray(inputs))
        of_labels = np.asarray(labels)
        if of_labels.shape != (len(made),):
            raise InputError(f"labels: got shape {of_labels.shape}; ({len(made)},) expected")
        if classes is None:
            values, of_labels = np.unique(of_labels, return_inverse=True)
            classes = [str(value) for value in values]
        of_groups = None if groups is None else np.asarray(groups)
        names = [str(row) for row in range(len(made))] if ids is None else ids
        if len(names) != len(made):
            raise InputError(f"ids: got {len(names)}; {len(made)} expected")
        if of_labels.dtype.kind not in "iu":
            raise InputError(f"labels: got {of_labels.dtype}; whole numbers expected")
        rows = split(of_labels, groups=of_groups)
        parts = (
            _part(made[each], of_labels[each], [names[row] for row in each], of_groups, each)
            for each in rows
        )
        return checked(
            cls(name=name, classes=tuple(classes), **dict(zip(PARTS, parts, strict=True)))
        )

    def parts(self) -> dict[str, Part]:
        """Return the parts by their names."""
        return {name: getattr(self, name) for name in PARTS}

    def fingerprint(self) -> str:
        """Return a hash of all inputs, labels and names of classes."""
        found = hashlib.sha256(repr(self.classes).encode())
        for part in self.parts().values():
            for tensor in (part.inputs, part.labels):
                found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(tensor.contiguous().numpy().data)
        return found.hexdigest()


def load_data(source: str, *, size: int | None = None, patient: str | None = None) -> Data:
    """Read data that are named as on the command line.

    Parameters
    ----------
    source : str
        - a MedMNIST file, ``.npz`` with train_images, train_labels, val_images, … (any 2-D set);
        - a folder with a folder of images for each class, or with folders ``train``, ``val`` and ``test``
          of such;
        - ``digits``, ``breast_cancer``, ``iris`` or ``wine``, as scikit-learn has them;
        - ``module:name``: a `Data`, a tuple (inputs, labels) or (inputs, labels, groups) as
          `Data.from_arrays` takes them, or a function that returns one. This runs the module.
    size : int, optional
        Makes all images size × size.
    patient : str, optional
        For folders: a regular expression, searched in each file's path below the folder; its first
        group, or all that matches, is the patient.

    Returns
    -------
    Data
        What comes undivided is divided by `split`: 60, 20 and 20%.

    Raises
    ------
    InputError
        A ValueError of one line that says what is wrong. Nothing in a file is executed.

    Examples
    --------
    >>> from ironstep.train import load_data
    >>> data = load_data("digits")
    >>> data.train.inputs.shape, len(data.classes)
    (torch.Size([1080, 1, 8, 8]), 10)
    """
    path = Path(source)
    if size is not None and size < 1:
        raise InputError(f"size: got {size}; 1 or more expected")
    name = source.replace("-", "_")
    if patient is not None and not path.is_dir():
        raise InputError("patient: is for folders of images")
    try:
        if name in SKLEARN:
            data = _sklearn(name)
        elif _OBJECT.fullmatch(source) and not path.exists():
            data = _object(source)
        elif path.is_dir():
            return _folder(path, size, patient)
        elif path.suffix == ".npz":
            data = _npz(path)
        elif path.is_file():
            raise InputError(f"{path}: an .npz file or a folder expected")
        else:
            raise InputError(
                f"{path}: no such file or folder; {', '.join(SKLEARN)} or module:name would do as well"
            )
        return data if size is None else _resized(data, size)
    except MemoryError:
        raise InputError(f"{source}: does not fit into memory") from None


def checked(data: Data) -> Data:
    """Return the data if they can be trained with."""
    n_classes = len(data.classes)
    for name, part in data.parts().items():
        if not len(part):
            raise InputError(f"{data.name}: the {name} part is empty")
        if part.inputs.shape[1:] != data.train.inputs.shape[1:]:
            raise InputError(
                f"{data.name}: {name} inputs of shape {tuple(part.inputs.shape[1:])}; "
                f"{tuple(data.train.inputs.shape[1:])} as in the training part expected"
            )
        if (
            part.labels.dim() == 1
            and not 0 <= int(part.labels.min()) <= int(part.labels.max()) < n_classes
        ):
            raise InputError(f"{data.name}: {name} labels outside 0 to {n_classes - 1}")
        if part.inputs.is_floating_point() and not bool(part.inputs.isfinite().all()):
            row = int((~part.inputs.isfinite()).flatten(1).any(1).nonzero()[0])
            raise InputError(
                f"{data.name}: {name} inputs, row {row}: a value is missing or infinite"
            )
    if n_classes < 2:
        raise InputError(f"{data.name}: got {n_classes} class; two at least expected")
    if data.train.labels.dim() == 1:
        counts = torch.bincount(data.train.labels, minlength=n_classes)
        if not bool(counts.all()):
            absent = data.classes[int(counts.argmin())]
            raise InputError(f"{data.name}: the training part has no case of class {shown(absent)}")
    seen: dict[str, str] = {}
    for name, part in data.parts().items():
        for group in set(part.groups or ()):
            if seen.setdefault(group, name) != name:
                raise InputError(
                    f"{data.name}: patient {shown(group)} is in the {seen[group]} and the {name} part"
                )
    return data


def _part(
    inputs: NDArray[Any],
    labels: NDArray[Any],
    ids: Iterable[str],
    groups: NDArray[Any] | None,
    rows: Any = slice(None),
) -> Part:
    of_labels = torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.float32))
    return Part(
        inputs=torch.from_numpy(np.ascontiguousarray(inputs)),
        labels=of_labels,
        ids=tuple(ids),
        groups=None if groups is None else tuple(map(str, groups[rows])),
    )


def _inputs(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return images as (N, C, H, W), or a table as it is."""
    if array.ndim == 2 and array.dtype.kind in "fiub":
        return array.astype(np.float32)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise InputError(
            f"{name}: got shape {array.shape}; images (N, H, W) or (N, H, W, 3) expected, or a table (N, F)"
        )
    if array.dtype != np.uint8:
        raise InputError(f"{name}: got {array.dtype}; images of uint8 expected")
    if not array.size:
        raise InputError(f"{name}: got shape {array.shape}; one image at least expected")
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _npz(path: Path) -> Data:
    wanted = [
        f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")
    ]
    try:
        # Opened here, for numpy leaves a damaged file open.
        with path.open("rb") as opened:
            arrays = _arrays(path, np.load(opened, allow_pickle=False), wanted)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be read: {_line(error)}") from None
    parts, several, last = {}, False, 0
    for part, short in zip(PARTS, ("train", "val", "test"), strict=True):
        images = _inputs(f"{path}: {short}_images", arrays[f"{short}_images"])
        if images.ndim == 2:
            raise InputError(
                f"{path}: {short}_images: got shape {images.shape}; (N, H, W) or (N, H, W, 3) expected"
            )
        labels = _labels(f"{path}: {short}_labels", arrays[f"{short}_labels"], len(images))
        ids = [f"{short}/{row}" for row in range(len(images))]
        parts[part] = _part(images, labels, ids, None)
        several |= labels.ndim == 2
        last = max(last, labels.shape[1] - 1 if labels.ndim == 2 else int(labels.max()))
    if len({part.labels.shape[1:] for part in parts.values()}) > 1:
        raise InputError(f"{path}: the labels of the parts have different shapes")
    if not several and last >= len(parts["train"]):
        raise InputError(
            f"{path}: a label is {last}, with {len(parts['train'])} cases to train with"
        )
    classes = tuple(map(str, range(last + 1)))
    return checked(Data(name=path.stem, classes=classes, **parts))


def _arrays(path: Path, file: Any, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: holds a single array; {', '.join(wanted)} expected")
    for name in wanted:
        if name not in file.files:
            held = ", ".join(map(shown, file.files[:12])) or "none"
            raise InputError(f"{path}: no array '{name}'; it has {held}")
    arrays = {}
    for name in wanted:
        try:
            arrays[name] = np.asarray(file[name])
        except _DAMAGE as error:
            raise InputError(f"{path}: array '{name}' cannot be read: {_line(error)}") from None
    return arrays


def _labels(name: str, labels: NDArray[Any], n_images: int) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if (
        labels.ndim not in (1, 2)
        or len(labels) != n_images
        or (labels.ndim == 2 and not labels.size)
    ):
        raise InputError(
            f"{name}: got shape {labels.shape}; ({n_images},), ({n_images}, 1) or, of several classes at "
            f"once, ({n_images}, K) expected"
        )
    if labels.dtype.kind not in "iub":
        raise InputError(f"{name}: got {labels.dtype}; whole numbers expected")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or (labels.ndim == 2 and most > 1):
        expected = "0 or 1" if labels.ndim == 2 else "0 or more"
        raise InputError(f"{name}: got values from {least} to {most}; {expected} expected")
    return labels


def _sklearn(name: str) -> Data:
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(f"{name}: needs scikit-learn: pip install scikit-learn") from None
    bunch = getattr(datasets, f"load_{name}")()
    inputs = bunch.data
    if name == "digits":  # values 0 to 16
        inputs = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    classes = tuple(map(str, bunch.target_names))
    return Data.from_arrays(inputs, bunch.target, classes=classes, name=name)


def _object(source: str) -> Data:
    found = import_object(source, "data")
    if callable(found):
        found = found()
    if isinstance(found, Data):
        return checked(found)
    if isinstance(found, tuple) and len(found) in (2, 3):
        inputs, labels, groups = (*found, None)[:3]
        return Data.from_arrays(inputs, labels, groups=groups, name=source.partition(":")[2])
    raise InputError(
        f"{source}: is {type(found).__name__}; ironstep.train.Data, (inputs, labels) or "
        "(inputs, labels, groups) expected"
    )


def import_object(source: str, what: str) -> Any:
    """Return what `module:name` names; modules beside the user are found, as by `python -m`."""
    module, _, name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for each in name.split("."):
            found = getattr(found, each)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what} {source}: {_line(error)}") from None
    return found


def _folder(folder: Path, size: int | None, patient: str | None) -> Data:
    try:
        matching = None if patient is None else re.compile(patient)
    except re.error as error:
        raise InputError(f"patient: {shown(patient)} is no regular expression: {error}") from None
    below = {each.name.lower(): each for each in sorted(folder.iterdir()) if each.is_dir()}
    known = {name: each for name, each in below.items() if name in _FOLDERS}
    divided = {_FOLDERS[name]: each for name, each in known.items()}
    if known and len(known) == len(below) and {"train", "test"} <= divided.keys():
        if len(divided) < len(known):
            raise InputError(f"{folder}: folders {', '.join(known)}: one for each part expected")
        files = {part: _files(each) for part, each in divided.items()}
    else:
        files = {"": _files(folder)}
    classes = sorted({name for found in files.values() for name, _ in found})
    if len(classes) < 2:
        raise InputError(
            f"{folder}: a folder for each class with images in it expected; found "
            f"{', '.join(map(shown, classes)) or 'none'}"
        )
    everything = [path for found in files.values() for _, path in found]
    images = _read_images(everything, size)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for found in files.values() for name, _ in found])
    ids = [path.relative_to(folder).as_posix() for path in everything]
    groups = None if matching is None else np.array([_patient(matching, each) for each in ids])
    if "" in files:
        rows = dict(zip(PARTS, split(labels, groups=groups), strict=True))
    else:
        ends = np.cumsum([0, *(len(found) for found in files.values())])
        rows = {part: np.arange(*ends[place : place + 2]) for place, part in enumerate(files)}
        if "validation" not in rows:
            of = rows["train"]
            kept, other = split(
                labels[of], groups=None if groups is None else groups[of], shares=(0.8, 0.2)
            )
            rows["train"], rows["validation"] = of[kept], of[other]
    parts = {
        part: _part(images[of], labels[of], [ids[row] for row in of], groups, of)
        for part, of in rows.items()
    }
    return checked(Data(name=folder.name, classes=tuple(classes), **parts))


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Return class and path of each image."""
    return [
        (each.name, path)
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith(".")
        for path in sorted(each.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def _patient(matching: re.Pattern[str], name: str) -> str:
    found = matching.search(name)
    if found is None:
        raise InputError(f"patient: {shown(matching.pattern)} finds none in {shown(name)}")
    return str(found[1] if matching.groups else found[0])


def _read_images(paths: Sequence[Path], size: int | None) -> NDArray[np.uint8]:
    """Return all images as (N, C, H, W); in grey if all of them are."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError("images in folders need Pillow: pip install pillow") from None

    def opened(path: Path) -> Any:
        return Image.open(path)

    # What Pillow raises for damaged files of one kind or another, and for very large ones.
    damage = (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    )
    grey, shape, images = True, None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for path in paths:
            try:
                with opened(path) as image:
                    grey &= image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
                    found = image.size
            except damage as error:
                raise InputError(f"{path}: no readable image: {_line(error)}") from None
            shape = shape or found
            if size is None and found != shape:
                raise InputError(
                    f"{path}: {found[0]}×{found[1]} pixels, others have {shape[0]}×{shape[1]}; "
                    "--size makes them one"
                )
        for row, path in enumerate(paths):
            try:
                with opened(path) as image:
                    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
                        wide = np.asarray(image, dtype=np.float64) / 257
                        image = Image.fromarray(wide.round().clip(0, 255).astype(np.uint8))
                    elif image.mode == "F":
                        raise InputError(f"{path}: pixels of floating point; 8 or 16 bits expected")
                    image = image.convert("L" if grey else "RGB")
                    if size is not None:
                        image = image.resize((size, size), Image.Resampling.BILINEAR)
                    pixels = np.asarray(image, dtype=np.uint8)
            except InputError:
                raise
            except damage as error:
                raise InputError(f"{path}: no readable image: {_line(error)}") from None
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            if images is None:
                images = np.empty((len(paths), *pixels.shape), dtype=np.uint8)
            images[row] = pixels
    assert images is not None  # the caller has looked for files
    return images


def _resized(data: Data, size: int) -> Data:
    from torch.nn.functional import interpolate

    if data.train.inputs.dim() == 2:
        raise InputError(f"{data.name}: is a table, size is for images")
    parts = {}
    for name, part in data.parts().items():
        inputs = torch.empty((len(part), part.inputs.shape[1], size, size), dtype=torch.uint8)
        for rows in torch.split(torch.arange(len(part)), 1024):
            large = part.inputs[rows].float()
            resized = interpolate(large, (size, size), mode="bilinear", antialias=True)
            inputs[rows] = resized.round_().clamp_(0, 255).to(torch.uint8)
        parts[name] = Part(inputs=inputs, labels=part.labels, ids=part.ids, groups=part.groups)
    return Data(name=data.name, classes=data.classes, **parts)


def _line(error: BaseException) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
