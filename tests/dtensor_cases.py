"""What each rank of a gloo world checks of the fills of DTensors: ``python tests/dtensor_cases.py WORLD_SIZE``."""

import gloo_ranks
import init_cases
import key_cases
import model_cases
import placement_cases

if __name__ == "__main__":
    gloo_ranks.main([*placement_cases.CASES, *init_cases.CASES, *model_cases.CASES, *key_cases.CASES])
