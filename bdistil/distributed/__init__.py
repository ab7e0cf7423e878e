"""The distributed search: rounds, trials on Ray Tune, sampling by Optuna, journal and resume."""
