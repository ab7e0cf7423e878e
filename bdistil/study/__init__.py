"""Answers drawn from searches: reports and, built on them, comparisons."""
