"""Numerical kernels: arrays in, arrays out. No files, no xarray, no Dask, no globals."""
