"""The only place that builds Dask graphs."""
