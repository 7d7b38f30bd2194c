"""y = W x in Triton: one program a group of outer blocks and a tile of columns of x.

    y[r, c] = sum over entries e of the group's list, ascending, of  W_e[r, :] x[inner(e), c]

Twin: `torch_products.multiply`; lists: `triton_lists`. "Outer" are the block rows of W (its block
columns for W^T), "inner" what is summed over. A step of the loop takes SLABS entries of the list
side by side, K = SLABS x B_IN elements of the sum: a tile of W is gathered from the blocks of the
members, a tile of x from its rows, and `tl.dot` multiplies them on tensor cores. Programs of one
column tile follow each other over all groups, so the part of x that they read stays in the L2
cache. No number of programs depends on the pattern, and every sum has one order.

Blocks with one outer row have nothing for a tensor core to share: `_multiply_rows` multiplies
element by element.
"""

from __future__ import annotations

from diffrender._triton import Block, Pointer, constexpr, i64, kernel, tl

__all__ = ["multiply_rows", "multiply_tiles", "slot_of"]


@kernel
def slot_of(
    slots: Pointer,
    entry: Block,  # (1, K), of the list
    member: Block,  # (M, 1)
    there: Block,  # (M, K)
    MEMBERS: constexpr,
    DIRECT: constexpr,
) -> Block:
    """Where in the values the blocks lie, (M, K); -1 for none. DIRECT: entry e is block e."""
    if DIRECT:
        slot = tl.where(there, entry, -1)
    else:
        slot = tl.load(slots + entry * MEMBERS + member, mask=there, other=-1)
    return slot.to(tl.int64)


@kernel
def multiply_tiles(
    values: Pointer,
    x: Pointer,
    y: Pointer,
    starts: Pointer,
    inner: Pointer,
    slots: Pointer,
    groups: i64,
    outer_size: i64,
    inner_size: i64,
    columns: i64,
    MEMBERS: constexpr,
    DIRECT: constexpr,
    TRANSPOSE: constexpr,
    FEATURES_LAST: constexpr,
    WIDEN: constexpr,  # the interpreter cannot multiply bfloat16
    TOTAL: constexpr,  # dtype of sums
    B_OUT: constexpr,
    B_IN: constexpr,
    SLABS: constexpr,
    M: constexpr,
    K: constexpr,
    N: constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    group = program % groups
    tiles = (columns + N - 1) // N
    batch = program // groups // tiles
    column = program // groups % tiles * N + tl.arange(0, N)
    wanted = column < columns
    row = tl.arange(0, M)
    member, inside = row // B_OUT, row % B_OUT
    feature = group * (MEMBERS * B_OUT) + row
    exists = (member < MEMBERS) & (feature < outer_size)
    step = tl.arange(0, K)
    slab, within = step // B_IN, step % B_IN
    # A block is (b_m, b_k), row-major; in W^T its columns are the outer ones.
    if TRANSPOSE:
        place = within[None, :] * B_OUT + inside[:, None]
    else:
        place = inside[:, None] * B_IN + within[None, :]
    end = tl.load(starts + group + 1)
    total = tl.zeros((M, N), dtype=TOTAL)
    for i in range(tl.load(starts + group), end, SLABS):
        entry = i + slab
        there = (entry < end) & (slab < SLABS)
        which = exists[:, None] & there[None, :]
        slot = slot_of(slots, entry[None, :], member[:, None], which, MEMBERS, DIRECT)
        w = tl.load(values + slot * (B_OUT * B_IN) + place, mask=slot >= 0, other=0.0)
        source = tl.load(inner + entry, mask=there, other=0).to(tl.int64) * B_IN + within
        if FEATURES_LAST:
            at = column[None, :] * inner_size + source[:, None]
        else:
            at = (batch * inner_size + source)[:, None] * columns + column[None, :]
        part = tl.load(x + at, mask=there[:, None] & wanted[None, :], other=0.0)
        if WIDEN:
            w, part = w.to(TOTAL), part.to(TOTAL)
        total = tl.dot(w, part, total, input_precision="ieee", out_dtype=TOTAL)
    if FEATURES_LAST:
        target = column[None, :] * outer_size + feature[:, None]
    else:
        target = (batch * outer_size + feature)[:, None] * columns + column[None, :]
    store = exists[:, None] & wanted[None, :]
    tl.store(y + target, total.to(y.dtype.element_ty), mask=store)


@kernel
def multiply_rows(
    values: Pointer,
    x: Pointer,
    y: Pointer,
    starts: Pointer,
    inner: Pointer,
    slots: Pointer,
    groups: i64,
    inner_size: i64,
    columns: i64,
    DIRECT: constexpr,
    FEATURES_LAST: constexpr,
    TOTAL: constexpr,
    B_IN: constexpr,
    SLABS: constexpr,
    K: constexpr,
    N: constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    group = program % groups  # an outer row
    tiles = (columns + N - 1) // N
    batch = program // groups // tiles
    column = program // groups % tiles * N + tl.arange(0, N)
    wanted = column < columns
    step = tl.arange(0, K)
    slab, within = step // B_IN, step % B_IN
    end = tl.load(starts + group + 1)
    total = tl.zeros((K, N), dtype=TOTAL)
    for i in range(tl.load(starts + group), end, SLABS):
        entry = i + slab
        there = (entry < end) & (slab < SLABS)
        slot = slot_of(slots, entry, 0, there, 1, DIRECT)
        w = tl.load(values + slot * B_IN + within, mask=there, other=0.0).to(TOTAL)
        source = tl.load(inner + entry, mask=there, other=0).to(tl.int64) * B_IN + within
        if FEATURES_LAST:
            at = column[None, :] * inner_size + source[:, None]
        else:
            at = (batch * inner_size + source)[:, None] * columns + column[None, :]
        part = tl.load(x + at, mask=there[:, None] & wanted[None, :], other=0.0)
        total += w[:, None] * part.to(TOTAL)
    if FEATURES_LAST:
        target = column * groups + group
    else:
        target = (batch * groups + group) * columns + column
    tl.store(y + target, tl.sum(total, axis=0).to(y.dtype.element_ty), mask=wanted)
