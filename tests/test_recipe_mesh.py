"""Recipes on meshes: every full tensor of a sharded model has the bits of one process."""

import gloo_ranks
import pytest


@pytest.mark.parametrize("world_size", [2, 4])
def test_sharded_models_have_the_values_of_one_process(world_size: int) -> None:
    gloo_ranks.run("recipe_cases.py", world_size)


def test_models_that_frameworks_shard_have_the_values_of_one_process() -> None:
    gloo_ranks.run("framework_cases.py", 4)
