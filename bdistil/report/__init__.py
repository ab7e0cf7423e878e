"""A run, or several, for people: report, plots, running costs, Pareto front."""
