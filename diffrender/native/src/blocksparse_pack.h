// Packing x into panels: a panel holds V vectors of columns of all its rows, one row after another,
// so that a block's share of it is one contiguous piece and the whole fits a cache. Numbers become
// float (double stays) on the way; columns beyond the last are zero.
#pragma once

#include "blocksparse_transpose.h"

namespace diffrender {

// One vector of numbers out of storage.
template <class C, class T>
inline typename Lanes<C>::V widen(const T* from) {
  if constexpr (std::is_same<T, C>::value) {
    return load_lanes<C>(from);
  } else {
    typename Lanes<C>::V v;
    for (int l = 0; l < Lanes<C>::N; ++l) v[l] = C(number(from[l]));
    return v;
  }
}

// `count` <= width numbers side by side.
template <class T, class C>
inline void pack_row(const T* from, int64_t count, int64_t width, C* to) {
  constexpr int N = Lanes<C>::N;
  int64_t c = 0;
  if constexpr (!std::is_same<T, Float16>::value)
    for (; c + N <= count; c += N) store_lanes<C>(to + c, widen<C>(from + c));
  widen_all(from + c, count - c, to + c);
  for (c = count; c < width; ++c) to[c] = C(0);
}

// Two rows `stride` apart, each of `count` <= width bfloat16, side by side as pairs.
inline void pack_pairs(const BFloat16* from, int64_t stride, int64_t count, int64_t width,
                       Pair* to) {
  const BFloat16* second = from + stride;
  for (int64_t c = 0; c < count; ++c) to[c] = from[c].bits | Pair(second[c].bits) << 16;
  for (int64_t c = count; c < width; ++c) to[c] = 0;
}

// A panel out of x (n, rows): `count` <= width rows of it become columns, the rest is zero.
template <class T, class C>
void pack_panel_transposed(const T* x, int64_t rows, int64_t count, int64_t width, C* panel) {
  pack_transposed(x, rows, count, rows, panel, width);
  for (int64_t r = 0; count < width && r < rows; ++r)
    std::memset(panel + r * width + count, 0, size_t(width - count) * sizeof(C));
}

}  // namespace diffrender
