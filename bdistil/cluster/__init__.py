"""The search on Ray: its backend, its check-up, its loggers. No other room imports Ray."""
