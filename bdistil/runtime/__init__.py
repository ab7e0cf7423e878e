"""Running what was exported: numpy, with onnxruntime or torch where they are asked for."""
