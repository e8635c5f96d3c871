"""The numba loops over UTF-8 buffers: the only byte-walking in the project."""
