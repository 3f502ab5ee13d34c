"""A real S3 server process on loopback, and what tests put into its bucket."""

from __future__ import annotations

import io
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

import dphot

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def address_in(log: Path, server: subprocess.Popen) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1:"):
                return word
        time.sleep(0.1)
    raise AssertionError(f"the server does not start: {log.read_text()}")


def reference_of(path: str) -> str:
    return str(dphot.open(path).reference.attrs["path"])


def upload(folder: Path, address: str, names=lambda name: name) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        put(f"{address}/{names(path.relative_to(folder).as_posix())}", path.read_bytes())


def put(address: str, data: bytes) -> None:
    boto3_client().put_object(**place(address), Body=data)


def boto3_client():
    import boto3

    return boto3.client("s3")


def place(address: str) -> dict[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def rename(old: str, new: str) -> None:
    client = boto3_client()
    client.copy_object(**place(new), CopySource=place(old))
    client.delete_object(**place(old))


def requests(log: Path, name: str) -> list[str]:
    """Keys of the objects that were asked for, of those with a name in them."""
    asked = re.findall(r"\"\S*GET /observatory/(\S*) HTTP", log.read_text())
    return [key for key in asked if name in key]


def light(pixels: np.ndarray, long_primary: bool = False) -> bytes:
    """A light as FITS; with `long_primary` in an extension, behind a header longer than what is read at first."""
    cards = {"IMAGETYP": "Light Frame", "DATE-OBS": "2026-11-22T03:00:00", "EXPTIME": 30.0, "FILTER": "r"}
    image = (fits.ImageHDU if long_primary else fits.PrimaryHDU)(pixels, fits.Header(cards))
    out, primary = io.BytesIO(), fits.PrimaryHDU(header=fits.Header({f"KEY{i}": i for i in range(400)}))
    fits.HDUList([primary, image] if long_primary else [image]).writeto(out)
    return out.getvalue()


def small_nights(folder: Path, **values) -> list[Path]:
    return dphot.simulate.write_nights(
        folder, **{"frames": 3, "size": 128, "seed": 3, "stars": 25, "bias": 2, "darks": 2, "flats": 2, "clouds": 0, **values}
    )  # fmt: skip


def rows(table: dphot.FrameTable) -> pd.DataFrame:
    """The table with names for paths, and no times of change."""
    frames = table.to_pandas().drop(columns="mtime_ns")
    return frames.assign(path=[os.path.basename(path) for path in frames["path"]])
