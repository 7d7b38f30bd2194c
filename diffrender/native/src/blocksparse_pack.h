// Packing x into panels: a panel holds V vectors of columns of all its rows, one row after another,
// so that a block's share of it is one contiguous piece and the whole fits a cache. Numbers become
// float (double stays) on the way; columns beyond the last are zero.
#pragma once

#include "blocksparse.h"

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

// Four numbers out of storage.
template <class C, class T>
inline typename Four<C>::V widen4(const T* from) {
  typename Four<C>::V v;
  if constexpr (std::is_same<T, C>::value) {
    std::memcpy(&v, from, sizeof v);
#if defined(__F16C__)
  } else if constexpr (std::is_same<T, Float16>::value) {
    const __m128 four = _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    std::memcpy(&v, &four, sizeof v);
#endif
  } else {
    for (int l = 0; l < 4; ++l) v[l] = C(number(from[l]));
  }
  return v;
}

// to[j * to_stride + i] = from[i * from_stride + j] for `rows` values of i and `columns` of j.
template <class T, class C>
void pack_transposed(const T* from, int64_t from_stride, int64_t rows, int64_t columns, C* to,
                     int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  // A cache line of each row at a time: rows far apart share too few places in the cache to keep
  // a line of each until the next columns are read.
  constexpr int64_t kLine = 16;
  for (int64_t j0 = 0; j0 < whole_columns; j0 += kLine) {
    const int64_t j1 = std::min(j0 + kLine, whole_columns);
    for (int64_t i = 0; i < whole_rows; i += 4) {
      for (int64_t j = j0; j < j1; j += 4) {
        typename Four<C>::V square[4];
        for (int r = 0; r < 4; ++r) square[r] = widen4<C>(from + (i + r) * from_stride + j);
        transpose4<C>(square);
        for (int r = 0; r < 4; ++r)
          std::memcpy(to + (j + r) * to_stride + i, &square[r], sizeof square[r]);
      }
    }
  }
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = j < whole_columns ? whole_rows : 0; i < rows; ++i)
      to[j * to_stride + i] = C(number(from[i * from_stride + j]));
}

// A panel out of x (n, rows): `count` <= width rows of it become columns, the rest is zero.
template <class T, class C>
void pack_panel_transposed(const T* x, int64_t rows, int64_t count, int64_t width, C* panel) {
  pack_transposed(x, rows, count, rows, panel, width);
  for (int64_t r = 0; count < width && r < rows; ++r)
    std::memset(panel + r * width + count, 0, size_t(width - count) * sizeof(C));
}

}  // namespace diffrender
