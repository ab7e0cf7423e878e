import math
import subprocess
import sys

import pytest

from bdistil.datasets.catalogue import list_datasets, load_dataset
from bdistil.errors import MissingDependencyError, SpecError, TeacherError
from bdistil.optional import advice_if_missing, require
from bdistil.spec import DataSpec
from bdistil.testing import DATASET_CHECKS

ENTRIES = list_datasets()
LARGE = 10**7
"""Values of a data set that would make these tests slow."""
PRESENT = [e.name for e in ENTRIES if e.present and e.examples * math.prod(e.input_shape) < LARGE]


def load(name, seed=0, **settings):
    return load_dataset(DataSpec(name=name, **settings), seed)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
def test_every_named_data_set_keeps_the_contract(check, name):
    check(name)


def test_digits_are_images_with_raw_values():
    assert load("digits").train.x.max() == 16


def test_unknown_name_gets_the_closest():
    with pytest.raises(SpecError, match=r"data.name is 'digit', .*did you mean 'digits'\?"):
        load("digit")
    with pytest.raises(SpecError, match=r"known: cube, ellipsoid"):
        load("qqqqqq")


def test_unknown_option_is_named():
    with pytest.raises(SpecError, match=r"options.example is unknown to cube; did you mean 'exam"):
        load("cube", options={"example": 100})
    with pytest.raises(SpecError, match=r"options.seed is unknown to digits; it takes none"):
        load("digits", options={"seed": 1})


@pytest.mark.parametrize("value", [-5, "many", 2.5, None])
def test_wrong_option_value_is_shown(value):
    with pytest.raises(SpecError, match=rf"data.options.examples is {value!r}: "):
        load("cube", options={"examples": value})


def test_settings_of_a_file_are_refused_for_a_name():
    with pytest.raises(SpecError, match=r"remove it for data.name: cube"):
        load("cube", ignore=["id"])
    with pytest.raises(SpecError, match=r"data.task is regression, but cube is for classification"):
        load("cube", task="regression")
    with pytest.raises(TeacherError, match=r"data.name is 'cube'"):
        load_dataset(DataSpec(name="cube"), 0, teacher_columns=["t0"])


def test_options_are_refused_for_a_file(tmp_path):
    with pytest.raises(SpecError, match=r"remove them for data.path"):
        load_dataset(DataSpec(path=tmp_path / "a.csv", options={"examples": 3}), 0)


def test_a_missing_package_names_its_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install 'bdistil\[search\]'"):
        require("no_such_package.part", "search")
    assert "bdistil[search]" in (advice_if_missing("no_such_package", "search") or "")


def test_predicting_on_arrays_needs_no_heavy_package():
    code = (
        "import sys; import bdistil.data.columns, bdistil.datasets.catalogue as r; "
        "r.load_dataset(r.DataSpec(name='cube'), 0); "
        "sys.exit(any(m in sys.modules for m in ('pandas', 'sklearn', 'pyarrow', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
