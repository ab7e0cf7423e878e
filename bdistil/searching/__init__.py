"""The search itself, without Ray: controller, sampler, workbench, ledger and local backend."""
