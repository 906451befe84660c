"""Pictures drawn by two processes are those that one draws."""

import pytest

from evaluate.cases import predictions
from ironstep.evaluate import Evaluation
from ironstep.evaluate._drawing import Helper, draw_all
from ironstep.evaluate._figures import pictures

for _module in ("matplotlib", "jinja2", "scipy"):
    pytest.importorskip(_module)


@pytest.fixture(scope="module")
def results():
    columns = predictions(100)
    return Evaluation(columns["y"], columns["model_a"], n_resamples=10).results


@pytest.fixture(autouse=True, scope="module")
def small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ironstep.evaluate._figures.DPI", 30)
        yield


def draw(results, folder, beside):
    folder.mkdir()
    told = []
    svgs = draw_all(results, list(pictures(results)), folder, told.append, beside)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return svgs, files, told


def test_two_processes_draw_what_one_draws(results, tmp_path):
    svgs, files, told = draw(results, tmp_path / "alone", None)
    assert len(told) == len(svgs) == len(files) / 3 == 5
    with Helper() as beside:
        svgs_of_two, files_of_two, told_of_two = draw(results, tmp_path / "two", beside)
    assert (svgs_of_two, files_of_two) == (svgs, files)
    assert 0 < len(told_of_two) < 5  # the other drew at least two
    assert beside._process.poll() is not None


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_helper_that_ends_leaves_no_picture_out(results, tmp_path, when):
    with Helper() as beside:
        if when == "before":
            beside._process.kill()
            beside._process.wait()
        else:
            send = beside.send

            def send_and_end(message):
                sent = send(message)
                beside._process.kill()
                return sent

            beside.send = send_and_end
        svgs, files, _ = draw(results, tmp_path / "out", beside)
    assert len(svgs) == len(files) / 3 == 5
