"""Designed experiments: ablations, comparisons with rivals, statistics, reproduction."""
