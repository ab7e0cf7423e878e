"""C for devices without an operating system, made from the graph of each stage."""
