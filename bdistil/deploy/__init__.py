"""What leaves the lab: saved ensembles and their inference, without Ray and Optuna."""
