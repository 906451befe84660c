"""Files to train with, made of scikit-learn's digits."""

import numpy as np


def digits(n_classes=2, n=400):
    """Images (N, 8, 8) as uint8 and their labels."""
    datasets = __import__("sklearn.datasets", fromlist=["load_digits"])
    bunch = datasets.load_digits(n_class=n_classes)
    return np.rint(bunch.images[:n] * (255 / 16)).astype(np.uint8), bunch.target[:n]


def medmnist(n_classes=2, n=400, *, column=True):
    """Arrays as a MedMNIST file has them."""
    images, labels = digits(n_classes, n)
    arrays, end = {}, len(labels)
    for part, rows in (
        ("train", slice(0, int(0.6 * end))),
        ("val", slice(int(0.6 * end), int(0.8 * end))),
        ("test", slice(int(0.8 * end), end)),
    ):
        of_part = labels[rows].astype(np.uint8)
        arrays[f"{part}_images"] = images[rows]
        arrays[f"{part}_labels"] = of_part[:, None] if column else of_part
    return arrays


def save_medmnist(path, **changes):
    arrays = medmnist() | changes
    np.savez_compressed(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


def save_folder(folder, n_classes=2, n=100, *, mode="L", inside=""):
    """A folder of PNGs, a class a folder; two images a patient, p0_0.png, p0_1.png, p1_0.png, …"""
    from PIL import Image

    images, labels = digits(n_classes, n)
    counts = dict.fromkeys(range(n_classes), 0)
    for image, label in zip(images, labels, strict=True):
        of_class = folder / inside / f"class{label}"
        of_class.mkdir(parents=True, exist_ok=True)
        patient, number = divmod(counts[int(label)], 2)
        counts[int(label)] += 1
        name = f"p{label}{patient:03}_{number}.png"
        Image.fromarray(image).convert(mode).save(of_class / name)
    return folder
