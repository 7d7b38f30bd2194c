"""dW = dY X^T at the pattern, in Triton: one program some blocks of a group of block rows.

    dW_e[r, s] = sum over columns c, ascending, of  dY[row(e) b_m + r, c]  X[column(e) b_k + s, c]

Twin: `torch_products.block_outer`; lists: `triton_lists`. A program multiplies the members' M rows
of dY by the K rows of X that SLABS entries of the list name, in tiles of N columns on tensor cores,
and writes the blocks that exist. There are as many programs as a full group could need, whatever
the pattern; those beyond the list's end do nothing. Blocks are written by one program each, so
nothing is added atomically. Blocks with one row are multiplied element by element.
"""

from __future__ import annotations

from diffrender._triton import Pointer, constexpr, i64, kernel, tl
from diffrender.blocksparse.triton_multiply import slot_of

__all__ = ["outer_rows", "outer_tiles"]


@kernel
def outer_tiles(
    dy: Pointer,
    x: Pointer,
    out: Pointer,
    starts: Pointer,
    inner: Pointer,
    slots: Pointer,
    chunks: i64,  # programs of a group
    outer_size: i64,
    inner_size: i64,
    batches: i64,
    columns: i64,
    MEMBERS: constexpr,
    DIRECT: constexpr,
    FEATURES_LAST: constexpr,
    WIDEN: constexpr,
    TOTAL: constexpr,
    B_OUT: constexpr,
    B_IN: constexpr,
    SLABS: constexpr,
    M: constexpr,
    K: constexpr,
    N: constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    group = program // chunks
    first = tl.load(starts + group) + program % chunks * SLABS
    end = tl.load(starts + group + 1)
    if first < end:
        row = tl.arange(0, M)
        member, inside = row // B_OUT, row % B_OUT
        feature = group * (MEMBERS * B_OUT) + row
        exists = (member < MEMBERS) & (feature < outer_size)
        step = tl.arange(0, K)
        slab, within = step // B_IN, step % B_IN
        entry = first + slab
        there = (entry < end) & (slab < SLABS)
        source = tl.load(inner + entry, mask=there, other=0).to(tl.int64) * B_IN + within
        tiles = (columns + N - 1) // N
        total = tl.zeros((M, K), dtype=TOTAL)
        for tile in range(batches * tiles):
            batch = tile // tiles
            column = tile % tiles * N + tl.arange(0, N)
            wanted = column < columns
            if FEATURES_LAST:
                left = column[None, :] * outer_size + feature[:, None]
                right = column[:, None] * inner_size + source[None, :]
            else:
                left = (batch * outer_size + feature)[:, None] * columns + column[None, :]
                right = (batch * inner_size + source)[None, :] * columns + column[:, None]
            g = tl.load(dy + left, mask=exists[:, None] & wanted[None, :], other=0.0)
            part = tl.load(x + right, mask=wanted[:, None] & there[None, :], other=0.0)
            if WIDEN:
                g, part = g.to(TOTAL), part.to(TOTAL)
            total = tl.dot(g, part, total, input_precision="ieee", out_dtype=TOTAL)
        which = exists[:, None] & there[None, :]
        slot = slot_of(slots, entry[None, :], member[:, None], which, MEMBERS, DIRECT)
        place = slot * (B_OUT * B_IN) + inside[:, None] * B_IN + within[None, :]
        tl.store(out + place, total.to(out.dtype.element_ty), mask=slot >= 0)


@kernel
def outer_rows(
    dy: Pointer,
    x: Pointer,
    out: Pointer,
    starts: Pointer,
    inner: Pointer,
    chunks: i64,
    outer_size: i64,
    inner_size: i64,
    batches: i64,
    columns: i64,
    FEATURES_LAST: constexpr,
    TOTAL: constexpr,
    B_IN: constexpr,
    SLABS: constexpr,
    K: constexpr,
    N: constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    group = program // chunks  # a row
    first = tl.load(starts + group) + program % chunks * SLABS
    end = tl.load(starts + group + 1)
    if first < end:
        step = tl.arange(0, K)
        slab, within = step // B_IN, step % B_IN
        entry = first + slab
        there = (entry < end) & (slab < SLABS)
        source = tl.load(inner + entry, mask=there, other=0).to(tl.int64) * B_IN + within
        tiles = (columns + N - 1) // N
        total = tl.zeros((K, N), dtype=TOTAL)
        for tile in range(batches * tiles):
            batch = tile // tiles
            column = tile % tiles * N + tl.arange(0, N)
            wanted = column < columns
            if FEATURES_LAST:
                left = column * outer_size + group
                right = column[None, :] * inner_size + source[:, None]
            else:
                left = (batch * outer_size + group) * columns + column
                right = (batch * inner_size + source)[:, None] * columns + column[None, :]
            g = tl.load(dy + left, mask=wanted, other=0.0).to(TOTAL)
            part = tl.load(x + right, mask=there[:, None] & wanted[None, :], other=0.0)
            total += g[None, :] * part.to(TOTAL)
        sums = tl.sum(total, axis=1).to(out.dtype.element_ty)
        tl.store(out + entry.to(tl.int64) * B_IN + within, sums, mask=there)
