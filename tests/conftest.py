"""Tiny networks run fastest on one thread; more only wait for each other."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("without timings", deadline=None)
settings.load_profile("without timings")
