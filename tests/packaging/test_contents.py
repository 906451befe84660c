"""What the wheel and the source distribution hold."""

import tarfile
import zipfile
from email import message_from_bytes

import pytest

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="session")
def package_files(root):
    """The sources of the package, relative to its parent; not the extension among them."""
    return {
        path.relative_to(root / "python").as_posix()
        for path in (root / "python").rglob("*")
        if path.suffix in {".py", ".pyi", ".j2"} or path.name == "py.typed"
    }


def test_wheel_is_below_5_mb_and_for_all_python_from_3_11(wheels):
    for wheel in wheels:
        assert wheel.stat().st_size < 5_000_000
        assert "-cp311-abi3-" in wheel.name


def test_wheel_holds_the_package_one_extension_and_the_licences(wheels, package_files):
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        metadata = {name for name in names if ".dist-info/" in name}
        extension = names - metadata - package_files
        assert names - metadata - extension == package_files
        assert [name.split(".")[0] for name in extension] == ["ironstep/_native"]
        assert {"LICENSE-MIT", "LICENSE-APACHE"} <= {name.split("/")[-1] for name in metadata}


def test_numpy_is_the_only_hard_dependency(wheels):
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = message_from_bytes(archive.read(name))
        hard = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
        assert len(hard) == 1
        assert hard[0].startswith("numpy>=")


def test_sdist_holds_all_that_a_build_needs(sdist, root, package_files):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        path.relative_to(root).as_posix()
        for path in (root / "rust").rglob("*")
        if path.suffix == ".rs" or path.name == "Cargo.toml"
    }
    assert sources <= names
    assert {f"python/{name}" for name in package_files} <= names
    assert {"Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"} <= names
