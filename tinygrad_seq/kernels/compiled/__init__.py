"""The recurrent kernels once more, compiled by Numba (extra ``fast``)."""
