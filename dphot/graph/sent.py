"""Large arrays that the tasks of a run share: each is sent to the cluster once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from distributed import Client

#: Arrays of so many bytes may travel with every task.
SMALL = 2**18
#: A larger array is sent in pieces of about so many bytes: Dask warns of messages of 10 MB.
PIECE_BYTES = 4 * 2**20


def sent(argument: Any, client: Client) -> Any:
    """What a task is given in place of an argument: a future of a large array; anything else as it is.

    Of scattered data whose only holder died nothing is left. These futures are of tasks, which the scheduler runs
    again. An array of zeros is made where it is needed.

    Parameters
    ----------
    argument : object
        Anything.
    client : distributed.Client
        Where the tasks run.

    Returns
    -------
    object
        A `distributed.Future`, to be kept until the last task that uses it is done; or the argument.
    """
    if not isinstance(argument, np.ndarray) or argument.nbytes <= SMALL:
        return argument
    array = np.ascontiguousarray(argument)
    if not array.view(np.uint8).any():
        return client.submit(np.zeros, array.shape, array.dtype, pure=False)
    pixels, size = array.ravel(), PIECE_BYTES // array.itemsize
    pieces = [client.submit(_same, pixels[i : i + size], pure=False) for i in range(0, pixels.size, size)]
    return client.submit(_joined, pieces, array.shape, pure=False)


def _same(piece: np.ndarray) -> np.ndarray:
    return piece


def _joined(pieces: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(pieces).reshape(shape)
