"""Writing ensembles: safetensors, graphs, cards, calibration, evaluation."""
