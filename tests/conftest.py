"""Tiny networks run fastest on one thread; more only wait for each other."""

import torch

torch.set_num_threads(1)
