"""Datasets and stores that hold the same, to the last bit."""


def same_bits(a, b, but=()):
    """Two datasets: the same variables, types and bytes."""
    assert set(a.variables) - set(but) == set(b.variables) - set(but)
    for name in set(a.variables) - set(but):
        x, y = a[name].values, b[name].values
        assert x.dtype == y.dtype, name
        if x.dtype.kind == "O":
            assert list(x) == list(y), name
        else:
            assert x.tobytes() == y.tobytes(), name


def same_stores(a, b):
    """Two stores: photometry, raw frames, masters, stacks and reference; not history, nor how long it took."""
    assert list(a.photometry) == list(b.photometry) and list(a.masters) == list(b.masters)
    for name in b.photometry:
        same_bits(a.photometry[name].load(), b.photometry[name].load())
    for kind in ("frames", "stack"):
        held, other = getattr(a, kind), getattr(b, kind)
        assert {f: list(held[f]) for f in held} == {f: list(other[f]) for f in other}
        for f in other:
            for night in other[f]:
                x, y = held[f][night].load(), other[f][night].load()
                same_bits(x.to_dataset(name="image") if kind == "stack" else x,
                          y.to_dataset(name="image") if kind == "stack" else y)  # fmt: skip
    for name in b.masters:
        same_bits(a.masters[name].load(), b.masters[name].load())
    same_bits(a.reference.load(), b.reference.load())
    keys = (
        "night",
        "filter",
        "frames",
        "frames_used",
        "frames_dropped",
        "frames_noted",
        "calibration",
        "config",
    )
    assert [[{k: r[k] for k in keys} for r in n["series"]] for n in a.nights] == [
        [{k: r[k] for k in keys} for r in n["series"]] for n in b.nights
    ]
