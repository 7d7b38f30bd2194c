// Transposing on the way into panels of x and out of sums: to[j, i] = from[i, j].
//
// A square of numbers is turned around in registers. With AVX-512 it is 16 x 16, so that a cache
// line of every row is read once and written once: rows that are a power of two apart share too few
// places in the cache to be read again. With AVX2 it is 8 x 8, elsewhere and at the rims 4 x 4.
#pragma once

#include "blocksparse_square.h"

namespace diffrender {

// to[j * to_stride + i] = from[i * from_stride + j] for `rows` values of i and `columns` of j.
template <class T, class C>
void transpose_by_4(const T* from, int64_t from_stride, int64_t rows, int64_t columns, C* to,
                    int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  // A cache line of each row at a time.
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

// One square of as many rows as a register has numbers. With `Fetch` the rows of `from` are read
// on and on side by side, too many for the processor to foresee where they go on.
#if defined(DIFFRENDER_SQUARES)
template <bool Fetch, class From, class To>
inline void turn_square(const From* from, int64_t from_stride, To* to, int64_t to_stride,
                        bool stream) {
  constexpr int64_t kAhead = 4 * 64 / int64_t(sizeof(From));
  SquareRow row[kSide];
  for (int r = 0; r < kSide; ++r) {
    row[r] = load_square_row(from + r * from_stride);
    if (Fetch) __builtin_prefetch(from + r * from_stride + kAhead, 0, 2);
  }
  transpose_square(row);
  for (int r = 0; r < kSide; ++r) store_square_row(to + r * to_stride, row[r], stream);
}

// step(i, j) for every square of rows [begin, end), a cache line of each row at a time.
template <class Step>
inline void each_square(int64_t begin, int64_t end, int64_t columns, Step step) {
  for (int64_t line = 0; line < columns; line += 16)
    for (int64_t i = begin; i < end; i += kSide)
      for (int64_t j = line; j < std::min(line + 16, columns); j += kSide) step(i, j);
}
#endif

// to[j * to_stride + i] = from[i * from_stride + j], out of storage.
template <class T, class C>
void pack_transposed(const T* from, int64_t from_stride, int64_t rows, int64_t columns, C* to,
                     int64_t to_stride) {
#if defined(DIFFRENDER_SQUARES)
  if constexpr (sizeof(C) == 4) {
    const int64_t whole_rows = rows / kSide * kSide, whole_columns = columns / kSide * kSide;
    each_square(0, whole_rows, whole_columns, [&](int64_t i, int64_t j) {
      turn_square<true>(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride,
                        false);
    });
    transpose_by_4(from + whole_rows * from_stride, from_stride, rows - whole_rows, whole_columns,
                   to + whole_rows, to_stride);
    transpose_by_4(from + whole_columns, from_stride, rows, columns - whole_columns,
                   to + whole_columns * to_stride, to_stride);
    return;
  }
#endif
  transpose_by_4(from, from_stride, rows, columns, to, to_stride);
}

// The same into storage, rounded; rows of `to` are far apart and each a long piece. `stream` writes
// past the caches, where rows of `to` begin on lines of 64 bytes or all at one place beside them.
template <class C, class T>
void unpack_transposed(const C* from, int64_t from_stride, int64_t rows, int64_t columns, T* to,
                       int64_t to_stride, [[maybe_unused]] bool stream) {
  const auto rim = [=](int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    if constexpr (std::is_same<T, C>::value) {
      for (int64_t j = j0; j < j1; j += 4)
        transpose_by_4(from + i0 * from_stride + j, from_stride, i1 - i0,
                       std::min<int64_t>(4, j1 - j), to + j * to_stride + i0, to_stride);
    } else {
      for (int64_t j = j0; j < j1; ++j)
        for (int64_t i = i0; i < i1; ++i) put(to[j * to_stride + i], from[i * from_stride + j]);
    }
  };
#if defined(DIFFRENDER_SQUARES)
  if constexpr (sizeof(C) == 4) {
    // So that whole lines are written, where all rows begin at the same place of one.
    const int64_t past = int64_t(reinterpret_cast<uintptr_t>(to) / sizeof(T)) % kSide;
    const bool even = to_stride % kSide == 0;
    const int64_t begin = even ? std::min(rows, (kSide - past) % kSide) : 0;
    const int64_t end = begin + (rows - begin) / kSide * kSide;
    const int64_t whole_columns = columns / kSide * kSide;
    for (int64_t j = 0; j < whole_columns; j += kSide) {
      rim(0, begin, j, j + kSide);
      for (int64_t i = begin; i < end; i += kSide)
        turn_square<false>(from + i * from_stride + j, from_stride, to + j * to_stride + i,
                           to_stride, stream && even);
      rim(end, rows, j, j + kSide);
    }
    rim(0, rows, whole_columns, columns);
    return;
  }
#endif
  rim(0, rows, 0, columns);
}

}  // namespace diffrender
