"""Recipes: the presets hold what the design promises of them."""

import pytest
from tiny_students import quick

from bdistil.core.recipes import RECIPES, recipe
from bdistil.errors import SpecError


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match="'fast' is unknown; choose one of accurate, faithful, aux"):
        recipe("fast")


@pytest.mark.parametrize(
    ("examples", "batch"), [(10, 16), (64, 16), (100, 25), (512, 128), (10**6, 128)]
)
def test_the_batch_is_a_quarter_of_the_data_within_limits(examples, batch):
    assert recipe("accurate").batch_for(examples) == batch
    assert quick("accurate", batch_size=7).batch_for(examples) == 7


def test_the_paper_is_kept_as_written():
    paper = recipe("paper")
    assert (paper.normalisation, paper.target, paper.penalty) == ("per_label", "student", "barrier")
    assert (paper.connection, paper.skip, paper.label_share) == ("none", False, 0)


def test_where_the_teacher_is_the_aim_labels_have_no_share():
    assert {name for name, settings in RECIPES.items() if settings.label_share} == {"accurate"}


def test_where_a_head_answers_anew_each_student_learns_for_itself():
    ours = recipe("auxiliary")
    assert (ours.target, ours.connection, ours.skip) == ("ensemble", "dense", False)
    assert {name for name, settings in RECIPES.items() if settings.own_loss} == {"auxiliary"}
