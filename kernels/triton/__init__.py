"""Triton back end of the kernels; nothing here is imported before a tensor on a GPU (or a report) asks for it."""
