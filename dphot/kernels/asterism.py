"""The loops of asterism matching: shifts, neighbour graphs, triangles, candidate transforms.

All of it works on float64 positions and is compiled once. These functions propose; `evidence` decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dphot.kernels.pairing import nearest
from dphot.kernels.transform import similarity


@njit(cache=True, nogil=True)
def spread_brightest(x, y, n, cell, per_cell):  # pragma: no cover - compiled
    """Indices of the `n` brightest (first) stars, at most `per_cell` in a square of side `cell`.

    Where these are too few the rest follow. The cap keeps a trail or a cluster's core from using up the list.
    """
    total = len(x)
    x0, y0 = x.min(), y.min()
    nx = int((x.max() - x0) / cell) + 1
    ny = int((y.max() - y0) / cell) + 1
    count = np.zeros(nx * ny, np.int64)
    out = np.empty(min(n, total), np.int64)
    late = np.empty(total, np.int64)
    k, n_late = 0, 0
    for i in range(total):
        c = int((y[i] - y0) / cell) * nx + int((x[i] - x0) / cell)
        count[c] += 1
        if count[c] <= per_cell:
            out[k] = i
            k += 1
            if k == len(out):
                return out
        else:
            late[n_late] = i
            n_late += 1
    for i in range(len(out) - k):
        out[k + i] = late[i]
    return out


@njit(cache=True, nogil=True)
def neighbour_graph(x, y, m, shortest):  # pragma: no cover - compiled
    """(n, n) bool: joined are stars of which one is among the other's `m` nearest farther than `shortest`."""
    n = len(x)
    graph = np.zeros((n, n), np.bool_)
    d2 = np.empty(n)
    near = np.empty(m)
    for i in range(n):
        k = 0
        for j in range(n):
            d = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2
            if d < shortest * shortest:
                d = np.inf
            d2[j] = d
            # `near` holds the m smallest so far, sorted.
            if k < m or d < near[k - 1]:
                p = k if k < m else m - 1
                while p > 0 and near[p - 1] > d:
                    near[p] = near[p - 1]
                    p -= 1
                near[p] = d
                if k < m:
                    k += 1
        if k == 0:
            continue
        limit = near[k - 1]
        for j in range(n):
            if d2[j] <= limit and d2[j] < np.inf:
                graph[i, j] = True
                graph[j, i] = True
    return graph


@njit(cache=True, nogil=True)
def triangles(x, y, graph, most):  # pragma: no cover - compiled
    """Triangles with all sides in the graph: vertices (k, 3) opposite their sides (k, 3), longest first."""
    n = len(x)
    vertex = np.empty((most, 3), np.int64)
    side = np.empty((most, 3))
    link = np.empty(n, np.int64)
    k = 0
    for i in range(n):
        n_link = 0
        for j in range(i + 1, n):
            if graph[i, j]:
                link[n_link] = j
                n_link += 1
        for p in range(n_link):
            for q in range(p + 1, n_link):
                u, v, w = i, link[p], link[q]
                if not graph[v, w]:
                    continue
                # a, b, c are the sides opposite u, v, w; sorted together.
                a = np.sqrt((x[v] - x[w]) ** 2 + (y[v] - y[w]) ** 2)
                b = np.sqrt((x[u] - x[w]) ** 2 + (y[u] - y[w]) ** 2)
                c = np.sqrt((x[u] - x[v]) ** 2 + (y[u] - y[v]) ** 2)
                if a < b:
                    a, b, u, v = b, a, v, u
                if b < c:
                    b, c, v, w = c, b, w, v
                if a < b:
                    a, b, u, v = b, a, v, u
                if k == most:
                    return vertex, side
                vertex[k, 0], vertex[k, 1], vertex[k, 2] = u, v, w
                side[k, 0], side[k, 1], side[k, 2] = a, b, c
                k += 1
    return vertex[:k], side[:k]


@njit(cache=True, nogil=True)
def shape_pairs(side_r, side_f, tolerance, max_scale, most):  # pragma: no cover - compiled
    """Index pairs (k, 2) of triangles equal in shape within `tolerance` px, in size within `max_scale`.

    Triangles are binned by two ratios of their sides, and by size. At most `most` pairs are given.
    """
    nb, nc, ns = 32, 64, 16  # bins of b/a over [0.5, 1], of c/a over [0, 1], of log a
    smallest = np.log(side_f[:, 0].min())
    step = (np.log(side_f[:, 0].max()) - smallest) / ns + 1e-9
    start = np.zeros(nb * nc * ns + 1, np.int64)
    key = np.empty(len(side_f), np.int64)
    for t in range(len(side_f)):
        b = min(int((side_f[t, 1] / side_f[t, 0] - 0.5) * 2 * nb), nb - 1)
        c = min(int(side_f[t, 2] / side_f[t, 0] * nc), nc - 1)
        key[t] = (b * nc + c) * ns + int((np.log(side_f[t, 0]) - smallest) / step)
        start[key[t] + 1] += 1
    for q in range(nb * nc * ns):
        start[q + 1] += start[q]
    fill = start[:-1].copy()
    order = np.empty(len(side_f), np.int64)
    for t in range(len(side_f)):
        order[fill[key[t]]] = t
        fill[key[t]] += 1
    side = side_f[order]
    out = np.empty((most, 2), np.int64)
    k = 0
    for t in range(len(side_r)):
        a = side_r[t, 0]
        b = side_r[t, 1] / a
        c = side_r[t, 2] / a
        reach = tolerance * (1 + max_scale) / a
        b0 = max(int((b - reach - 0.5) * 2 * nb), 0)
        b1 = min(int((b + reach - 0.5) * 2 * nb), nb - 1)
        c0 = max(int((c - reach) * nc), 0)
        c1 = min(int((c + reach) * nc), nc - 1)
        low = a * (1 - max_scale) - tolerance
        high = a * (1 + max_scale) + tolerance
        s0 = int(np.floor((np.log(low) - smallest) / step)) if low > 0 else 0
        s1 = int(np.floor((np.log(high) - smallest) / step))
        if s1 < 0 or s0 >= ns:
            continue
        s0, s1 = max(s0, 0), min(s1, ns - 1)
        for q in range(b0, b1 + 1):
            for cell in range(q * nc + c0, q * nc + c1 + 1):
                for p in range(start[cell * ns + s0], start[cell * ns + s1 + 1]):
                    g = side[p, 0]
                    if g < low or g > high:
                        continue
                    if abs(side[p, 1] - b * g) > tolerance or abs(side[p, 2] - c * g) > tolerance:
                        continue
                    if k == most:
                        return out
                    out[k, 0] = t
                    out[k, 1] = order[p]
                    k += 1
    return out[:k]


@njit(cache=True, nogil=True)
def least_votes(pairs, vertex_r, vertex_f, n_r, n_f):  # pragma: no cover - compiled
    """The weakest of the three star-to-star votes of each triangle pair (Groth 1986)."""
    votes = np.zeros((n_r, n_f), np.int64)
    for k in range(len(pairs)):
        for q in range(3):
            votes[vertex_r[pairs[k, 0], q], vertex_f[pairs[k, 1], q]] += 1
    score = np.empty(len(pairs), np.int64)
    for k in range(len(pairs)):
        least = 1 << 40
        for q in range(3):
            least = min(least, votes[vertex_r[pairs[k, 0], q], vertex_f[pairs[k, 1], q]])
        score[k] = least
    return score


@njit(cache=True, nogil=True)
def verify(rx, ry, frame, pairs, rank, vertex_r, vertex_f, reach, near, limits, enough):  # pragma: no cover
    """Try candidates in order of rank; of those that match well (k, 7): the matrix's rows and the matches.

    A triangle must first find `near` more stars in its neighbourhood, where its own errors are small, before
    all are counted. `limits` is (max_scale, mirror allowed 0/1, candidates to try, matches that leave no doubt);
    once one has `enough` matches only the next few may still beat it.
    """
    n = len(rx)
    out = np.empty((int(limits[2]), 7))
    n_out = 0
    ax, ay, bx, by, weight = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.ones(n)
    m = np.empty((2, 3))
    last = min(len(rank), len(out)) - 1
    t = -1
    while t < last:
        t += 1
        r, f = pairs[rank[t], 0], pairs[rank[t], 1]
        cx = cy = 0.0
        for q in range(3):
            ax[q], ay[q] = rx[vertex_r[r, q]], ry[vertex_r[r, q]]
            bx[q], by[q] = frame.x[vertex_f[f, q]], frame.y[vertex_f[f, q]]
            cx += ax[q] / 3
            cy += ay[q] / 3
        size2 = (ax[1] - ax[2]) ** 2 + (ay[1] - ay[2]) ** 2
        k = 3
        # Turn 0: the triangle's surroundings; 1 and 2: all stars, the transform fitted to the last matches.
        for turn in range(4):
            det = similarity(ax, ay, bx, by, weight, k, m)
            slack = reach / np.sqrt(size2)  # a triangle's scale is only as good as its sides
            if abs(np.sqrt(abs(det)) - 1) > limits[0] + slack or (det < 0 and limits[1] == 0.0):
                k = 0
            if turn == 3 or k < 3 or (turn > 0 and k < 3 + near):
                break
            k = 0
            for i in range(n):
                d2 = (rx[i] - cx) ** 2 + (ry[i] - cy) ** 2
                if turn == 0 and d2 > 4 * size2:
                    continue
                px = m[0, 0] * rx[i] + m[0, 1] * ry[i] + m[0, 2]
                py = m[1, 0] * rx[i] + m[1, 1] * ry[i] + m[1, 2]
                radius = reach * (1 + 0.5 * np.sqrt(d2 / size2)) if turn == 0 else reach * (3 - turn)
                q, _ = nearest(px, py, radius, frame)
                if q >= 0:
                    ax[k], ay[k], bx[k], by[k] = rx[i], ry[i], frame.x[q], frame.y[q]
                    k += 1
        if k < 3 + near:
            continue
        for q in range(3):
            out[n_out, q], out[n_out, 3 + q] = m[0, q], m[1, q]
        out[n_out, 6] = k
        n_out += 1
        if k >= limits[3]:
            break
        if k >= enough:
            last = min(last, t + 12)
    return out[:n_out]


@njit(cache=True, nogil=True)
def commonest_shift(px, py, x, y, reach, least):  # pragma: no cover - compiled
    """The shift, of `least` px or more, that brings most of (px, py) within about `reach` px of one of (x, y).

    Shifts are counted in square cells of a plane that is wrapped, which keeps it small; two cells that share a
    place rarely matter, and what is proposed is judged anyway.
    """
    side = 256
    count = np.zeros((side + 1, side + 1), np.int16)
    for i in range(len(px)):
        for j in range(len(x)):
            if (x[j] - px[i]) ** 2 + (y[j] - py[i]) ** 2 < least * least:
                continue
            column, row = np.floor((x[j] - px[i]) / reach), np.floor((y[j] - py[i]) / reach)
            count[int(row) % side, int(column) % side] += 1
    count[side], count[:, side] = count[0], count[:, 0]
    most, top = -1, (0, 0)
    for row in range(side):
        for column in range(side):
            total = count[row, column] + count[row, column + 1]
            total += count[row + 1, column] + count[row + 1, column + 1]
            if total > most:
                most, top = total, (row, column)
    dx, dy = np.empty(most), np.empty(most)
    k = 0
    for i in range(len(px)):
        for j in range(len(x)):
            a, b = x[j] - px[i], y[j] - py[i]
            if a * a + b * b < least * least:
                continue
            row, column = int(np.floor(b / reach)) - top[0], int(np.floor(a / reach)) - top[1]
            if row % side < 2 and column % side < 2:
                dx[k], dy[k] = a, b
                k += 1
    if k == 0:
        return 0.0, 0.0
    best, most = 0, 0
    for i in range(k):
        near = ((dx[:k] - dx[i]) ** 2 + (dy[:k] - dy[i]) ** 2 <= reach * reach).sum()
        if near > most:
            best, most = i, near
    near = (dx[:k] - dx[best]) ** 2 + (dy[:k] - dy[best]) ** 2 <= reach * reach
    return dx[:k][near].mean(), dy[:k][near].mean()
