"""Plain NumPy twins of the compiled kernels: slow, written for reading, and what the kernels are tested against."""
