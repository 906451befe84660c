"""Files, folders and objects become three parts; what is wrong with them is one line."""

import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

import torch

from ironstep.train import Data, InputError, load_data
from train.files import digits, medmnist, save_folder, save_medmnist


def wrong(*arguments, **options):
    """The one line that is said."""
    with pytest.raises(InputError) as caught:
        load_data(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("column", [True, False])
def test_a_medmnist_file_keeps_its_parts(tmp_path, column):
    arrays = medmnist(3, column=column)
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    data = load_data(str(tmp_path / "set.npz"))
    assert data.name == "set"
    assert data.classes == ("0", "1", "2")
    for part, short in ((data.train, "train"), (data.validation, "val"), (data.test, "test")):
        assert np.array_equal(part.inputs[:, 0].numpy(), arrays[f"{short}_images"])
        assert np.array_equal(part.labels.numpy(), arrays[f"{short}_labels"].ravel())
        assert part.inputs.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert part.ids[1] == f"{short}/1"


def test_coloured_images_have_their_channels_first(tmp_path):
    arrays = medmnist()
    for short in ("train", "val", "test"):
        grey = arrays[f"{short}_images"]
        arrays[f"{short}_images"] = np.stack([grey, grey // 2, grey // 3], -1)
    np.savez(tmp_path / "set.npz", **arrays)
    data = load_data(str(tmp_path / "set.npz"))
    assert np.array_equal(data.test.inputs[:, 1].numpy(), arrays["test_images"][..., 1])


def test_several_classes_at_once_are_numbers(tmp_path):
    random = np.random.default_rng(0)
    labels = {f"{part}_labels": None for part in ("train", "val", "test")}
    arrays = medmnist()
    for name in labels:
        labels[name] = random.integers(0, 2, (len(arrays[name]), 14), dtype=np.uint8)
    data = load_data(str(save_medmnist(tmp_path / "chest.npz", **labels)))
    assert len(data.classes) == 14
    assert data.train.labels.dtype == torch.float32
    assert np.array_equal(data.train.labels.numpy(), labels["train_labels"])


def test_size_makes_images_square(tmp_path):
    data = load_data(str(save_medmnist(tmp_path / "set.npz")), size=16)
    assert data.train.inputs.shape[1:] == (1, 16, 16)
    assert data.train.inputs.dtype == torch.uint8


def object_array():
    array = np.empty(4, dtype=object)
    array[:] = [1, "a", None, [2]]
    return array


N_TRAIN, N_OTHER = (len(medmnist()[name]) for name in ("train_labels", "val_labels"))
NPZ = [
    (dict(val_labels=None), "no array 'val_labels'; it has 'train_images', "),
    (dict(val_images=np.zeros((5, 8, 8, 8), np.uint8)), "val_images: got shape (5, 8, 8, 8)"),
    (dict(test_images=np.zeros((5, 8), np.uint8)), "test_images: got shape (5, 8); "),
    (dict(test_images=np.zeros((0, 8, 8), np.uint8)), "one image at least"),
    (dict(train_images=np.zeros((5, 8, 8), np.float32)), "train_images: got float32"),
    (dict(train_labels=np.zeros(5, np.uint8)), "train_labels: got shape (5,)"),
    (dict(train_labels=np.zeros(N_TRAIN)), "train_labels: got float64"),
    (dict(train_labels=np.full(N_TRAIN, -1)), "train_labels: got values from -1 to -1; 0 or more"),
    (dict(train_labels=np.full(N_TRAIN, 10**9)), "a label is 1000000000"),
    (dict(train_labels=np.full(N_TRAIN, 2)), "no case of class '0'"),
    (dict(val_labels=np.full((N_OTHER, 2), 3)), "val_labels: got values from 3 to 3; 0 or 1"),
    (dict(val_labels=np.full((N_OTHER, 2), 1)), "the labels of the parts have different shapes"),
    (dict(train_labels=object_array()), "Object arrays cannot be loaded"),
    (dict(val_images=np.zeros((N_OTHER, 9, 8), np.uint8)), "validation inputs of shape (1, 9, 8)"),
]


@pytest.mark.parametrize(("changes", "message"), NPZ, ids=[message for _, message in NPZ])
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, changes, message):
    assert message in wrong(str(save_medmnist(tmp_path / "set.npz", **changes)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_one_line(tmp_path, share):
    path = save_medmnist(tmp_path / "set.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "cannot be read" in wrong(str(path))


def test_damaged_bytes_never_end_in_another_error(tmp_path):
    path = save_medmnist(tmp_path / "set.npz")
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 8):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_data(str(path))
        except InputError as error:
            lines = str(error).splitlines()
        else:
            lines = ["not where it matters"]
        assert len(lines) == 1


class Attack:
    def __reduce__(self):
        return (sys.exit, (7,))


def test_nothing_in_a_file_is_executed(tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(pickle.dumps(Attack()))
    assert "cannot be read" in wrong(str(path))
    inside = np.empty(1, dtype=object)
    inside[0] = Attack()
    save_medmnist(path, val_labels=inside)
    assert "cannot be read" in wrong(str(path))


def test_a_folder_is_divided_with_each_class_in_its_share(tmp_path):
    data = load_data(str(save_folder(tmp_path / "images")))
    assert data.classes == ("class0", "class1")
    assert [len(part) for part in data.parts().values()] == [60, 20, 20]
    images, labels = digits(2, 100)
    assert data.train.inputs.shape == (60, 1, 8, 8)
    # An image is where its name says it is.
    first = int(data.train.labels[0])
    number = int(data.train.ids[0][-9:-6]) * 2 + int(data.train.ids[0][-5])
    assert np.array_equal(data.train.inputs[0, 0].numpy(), images[labels == first][number])


def test_a_patient_named_in_files_stays_in_one_part(tmp_path):
    folder = save_folder(tmp_path / "images")
    data = load_data(str(folder), patient=r"p\d+")
    held = [set(part.groups) for part in data.parts().values()]
    assert sum(map(len, held)) == len(set.union(*held))
    assert any(len(part.groups) > len(set(part.groups)) for part in data.parts().values())
    assert load_data(str(folder), patient=r"p(\d+)_").train.groups[0].isdigit()


def test_a_divided_folder_keeps_its_parts(tmp_path):
    for inside in ("train", "val", "test"):
        save_folder(tmp_path / "images", n=30, inside=inside)
    data = load_data(str(tmp_path / "images"))
    assert [len(part) for part in data.parts().values()] == [30, 30, 30]
    assert data.test.ids[0].startswith("test/")


def test_without_a_validation_part_a_fifth_of_the_training_part_is_it(tmp_path):
    for inside in ("train", "test"):
        save_folder(tmp_path / "images", n=50, inside=inside)
    data = load_data(str(tmp_path / "images"))
    assert [len(part) for part in data.parts().values()] == [40, 10, 50]
    assert not set(data.train.ids) & set(data.validation.ids)


def test_a_patient_in_two_parts_of_a_divided_folder_is_one_line(tmp_path):
    for inside in ("train", "val", "test"):
        save_folder(tmp_path / "images", n=30, inside=inside)
    assert "is in the train and the validation part" in wrong(
        str(tmp_path / "images"), patient=r"p\d+"
    )


def test_one_coloured_image_makes_all_of_three_channels(tmp_path):
    from PIL import Image

    folder = save_folder(tmp_path / "images")
    image = next(iter(sorted(folder.rglob("*.png"))))
    Image.new("RGB", (8, 8), (1, 2, 3)).save(image)
    assert load_data(str(folder)).train.inputs.shape[1] == 3


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    from PIL import Image

    folder = save_folder(tmp_path / "images")
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    for path in folder.rglob("*.png"):
        Image.fromarray(values).save(path)
    found = load_data(str(folder)).train.inputs[0, 0].numpy()
    assert np.abs(found - values / 257).max() <= 0.5


def test_images_of_several_sizes_want_one(tmp_path):
    from PIL import Image

    folder = save_folder(tmp_path / "images")
    Image.new("L", (9, 8)).save(sorted(folder.rglob("*.png"))[3])
    assert "--size makes them one" in wrong(str(folder))
    assert load_data(str(folder), size=12).train.inputs.shape[1:] == (1, 12, 12)


@pytest.mark.parametrize("keep", [0, 10, 40, -30])
def test_a_corrupt_image_is_one_line_that_names_it(tmp_path, keep):
    folder = save_folder(tmp_path / "images")
    path = sorted(folder.rglob("*.png"))[5]
    path.write_bytes(path.read_bytes()[:keep])
    line = wrong(str(folder))
    assert "no readable image" in line
    assert path.name in line


FOLDERS = [
    (dict(), "a folder for each class"),
    (dict(patient="("), "no regular expression"),
    (dict(patient="nobody"), "finds none in"),
]


@pytest.mark.parametrize(("options", "message"), FOLDERS, ids=[message for _, message in FOLDERS])
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path, options, message):
    folder = tmp_path / "images"
    folder.mkdir()
    if options:
        save_folder(folder)
    assert message in wrong(str(folder), **options)


def test_scikit_learns_sets():
    data = load_data("breast-cancer")
    assert data.classes == ("malignant", "benign")
    assert data.train.inputs.dtype == torch.float32
    assert [len(part) for part in data.parts().values()] == [342, 114, 113]


@pytest.mark.parametrize(
    "returned", ["(x, y)", "(x, y, g)", "lambda: (x, y)", "Data.from_arrays(x, y)"]
)
def test_a_python_object_is_data(tmp_path, monkeypatch, returned):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom ironstep.train import Data\n"
        "x = np.zeros((40, 8, 8), np.uint8)\ny = ['no', 'yes'] * 20\ng = np.repeat(range(20), 2)\n"
        f"data = {returned}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    data = load_data("mine:data")
    assert data.classes == ("no", "yes")
    assert (data.train.groups is None) == (returned != "(x, y, g)")
    assert "mine:nothing" in wrong("mine:nothing")


NOTHING = [
    ("nowhere.npz", "no such file"),
    ("nowhere", "no such file or folder; breast_cancer, "),
    ("no_such_module:data", "No module named"),
    ("sys:path", "is list; "),
]


@pytest.mark.parametrize(("source", "message"), NOTHING, ids=[source for source, _ in NOTHING])
def test_what_is_not_there_is_one_line(source, message):
    assert message in wrong(source)


ARRAYS = [
    (dict(inputs=np.zeros((6, 2)), labels=[0] * 5), "labels: got shape (5,)"),
    (dict(inputs=np.zeros((6, 2)), labels=[0] * 6), "got 1 class"),
    (dict(inputs=np.full((6, 2), np.nan), labels=[0, 1] * 3), "a value is missing"),
    (dict(inputs=np.zeros((6, 8, 8)), labels=[0, 1] * 3), "images of uint8"),
    (dict(inputs=np.zeros((6, 2)), labels=[0, 1] * 3, ids=["a"]), "ids: got 1"),
    (dict(inputs=np.zeros((6, 2)), labels=[0, 7] * 3, classes=["a", "b"]), "outside 0 to 1"),
]


@pytest.mark.parametrize(("arguments", "message"), ARRAYS, ids=[message for _, message in ARRAYS])
def test_what_is_wrong_with_arrays_is_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        Data.from_arrays(**arguments)
    assert message in str(caught.value)


def test_the_fingerprint_sees_every_part():
    inputs, labels = np.zeros((40, 8, 8), np.uint8), np.array([0, 1] * 20)
    marks = set()
    for row in range(40):
        inputs[row, 3, 3] = 1
        marks.add(Data.from_arrays(inputs, labels).fingerprint())
    assert len(marks) == 40
