"""The only place that imports zarr or icechunk."""
