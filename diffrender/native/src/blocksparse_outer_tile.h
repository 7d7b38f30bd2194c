// Register tiles of the values' gradient: a block as a sum of outer products over packed columns,
//
// sums[r, q] += sum over columns c:  dy[c, r] x[c, q]
//
// Where the operands W are pairs of bfloat16, c counts pairs of columns, and C is what sums are taken
// in. Blocks with a side of 1 are dot products: blocksparse_dots.h.
#pragma once

#include "blocksparse_transpose.h"

namespace diffrender {

// (dy, x, columns, rows of dy's block, columns of x's block, sums, fresh): sums (rows, columns).
template <class C>
using Outer = void (*)(const C*, const C*, int64_t, int64_t, int64_t, C*, bool);

// Four rows by one vector of `Bytes`, for what is narrower than a register.
template <class C, int Bytes>
void outer(const C* dy, const C* x, int64_t count, int64_t rows, int64_t columns, C* sums,
           bool fresh) {
  typedef C Vector __attribute__((vector_size(Bytes)));
  constexpr int N = Bytes / int(sizeof(C));
  for (int64_t r0 = 0; r0 < rows; r0 += 4) {
    for (int64_t q0 = 0; q0 < columns; q0 += N) {
      Vector sum[4] = {};
      const C* left = dy + r0;
      const C* right = x + q0;
      for (int64_t c = 0; c < count; ++c, left += rows, right += columns) {
        Vector in;
        std::memcpy(&in, right, Bytes);
        for (int r = 0; r < 4; ++r) sum[r] += (left[r] - Vector{}) * in;
      }
      for (int r = 0; r < 4; ++r) {
        C* to = sums + (r0 + r) * columns + q0;
        Vector before{};
        if (!fresh) std::memcpy(&before, to, Bytes);
        before += sum[r];
        std::memcpy(to, &before, Bytes);
      }
    }
  }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DIFFRENDER_JOIN_8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define DIFFRENDER_JOIN_16(a, b) \
  __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#endif
#endif

// Columns of N / S blocks, narrower than a register, side by side in one. Put together in registers:
// out of memory that was written in smaller pieces a register comes late.
template <class C, int S>
inline typename Lanes<C>::V side_by_side(const C* const* x, int64_t at) {
  constexpr int N = Lanes<C>::N;
#if defined(DIFFRENDER_JOIN_8)
  typedef C Eight __attribute__((vector_size(8 * sizeof(C))));
  if constexpr (S == 4 && N == 8) {
    typename Four<C>::V a, b;
    std::memcpy(&a, x[0] + at, sizeof a);
    std::memcpy(&b, x[1] + at, sizeof b);
    return DIFFRENDER_JOIN_8(a, b);
  } else if constexpr (S == 8 && N == 16) {
    Eight a, b;
    std::memcpy(&a, x[0] + at, sizeof a);
    std::memcpy(&b, x[1] + at, sizeof b);
    return DIFFRENDER_JOIN_16(a, b);
  }
#endif
  typename Lanes<C>::V v;
  for (int p = 0; p < N / S; ++p)
    std::memcpy(reinterpret_cast<char*>(&v) + p * S * int(sizeof(C)), x[p] + at, S * sizeof(C));
  return v;
}

// Vectors of columns of one block row's blocks, V of them: 4 rows by V vectors of sums. They share the
// numbers of dy, so that a step's loads keep up with its multiply-adds. Blocks of S columns narrower
// than a vector lie N / S of them side by side in one; S = 0: every vector is of one block, whose
// columns lie `step` numbers apart.
template <class C, class W, int S, int V>
void outer_beside(const W* dy, const W* const* x, int64_t step, int64_t count, int64_t rows,
                  C* const* sums, bool fresh) {
  typedef typename Lanes<C>::V Vector;
  constexpr int N = Lanes<C>::N;
  constexpr int P = S ? N / S : 1;
  for (int64_t r0 = 0; r0 < rows; r0 += 4) {
    Vector sum[4][V];
    for (int r = 0; r < 4; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
    const W* left = dy + r0;
    const W* right[V];
    for (int v = 0; v < V; ++v) right[v] = x[v * P];
    for (int64_t c = 0; c < count; ++c, left += rows) {
      typename Lanes<W>::V in[V];
      for (int v = 0; v < V; ++v) {
        if constexpr (P == 1) {
          in[v] = load_lanes<W>(right[v]);
          right[v] += step;
        } else {
          in[v] = side_by_side<W, S>(x + v * P, c * S);
        }
      }
      for (int r = 0; r < 4; ++r) add_scaled<C, W, V>(sum[r], in, left[r]);
    }
    if constexpr (P == 1) {
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < V; ++v) {
          C* to = sums[v] + (r0 + r) * step;
          store_lanes<C>(to, fresh ? sum[r][v] : load_lanes<C>(to) + sum[r][v]);
        }
    } else {
      C numbers[4][V * N];
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < V; ++v) store_lanes<C>(numbers[r] + v * N, sum[r][v]);
      for (int p = 0; p < V * P; ++p)
        for (int r = 0; r < 4; ++r)
          for (int l = 0; l < S; ++l) {
            C& to = sums[p][(r0 + r) * S + l];
            to = fresh ? numbers[r][p * S + l] : to + numbers[r][p * S + l];
          }
    }
  }
}

#if defined(__AVX512F__)
// Four numbers, four times.
inline __m512i quarters(const void* from) {
  __m128i four;
  std::memcpy(&four, from, sizeof four);
  return _mm512_broadcast_i32x4(four);
}

// Blocks of four columns where a register holds sixteen numbers: four rows of a block are one. Its
// columns are spread four times as they are loaded, and the rows of dy once for all blocks.
template <class C, class W, int V>
void outer_whole(const W* dy, const W* const* x, int64_t step, int64_t count, int64_t rows,
                 C* const* sums, bool fresh) {
  constexpr int P = 4 * V;
  for (int64_t r0 = 0; r0 < rows; r0 += 4) {
    typename Lanes<C>::V sum[P] = {};
    const __m512i four_times = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    for (int64_t c = 0; c < count; ++c) {
      const __m512i left = _mm512_permutexvar_epi32(four_times, quarters(dy + c * rows + r0));
      for (int p = 0; p < P; ++p)
        add_product<C, W>(sum[p], (typename Lanes<W>::V)left,
                          (typename Lanes<W>::V)quarters(x[p] + c * step));
    }
    for (int p = 0; p < P; ++p) {
      C* to = sums[p] + r0 * step;
      store_lanes<C>(to, fresh ? sum[p] : load_lanes<C>(to) + sum[p]);
    }
  }
}
#endif

// Pieces of x that are summed side by side at a time, at most: 3 vectors of 16 bytes each or more.
constexpr int kBeside = 3 * kLaneBytes / 16;

// (dy, pieces of x, numbers from column to column, columns, rows, their sums, fresh)
template <class C, class W>
using Beside = void (*)(const W*, const W* const*, int64_t, int64_t, int64_t, C* const*, bool);

template <class C, class W, int S>
Beside<C, W> beside_of(int vectors) {
  switch (vectors) {
    case 1: return outer_beside<C, W, S, 1>;
    case 2: return outer_beside<C, W, S, 2>;
    default: return outer_beside<C, W, S, 3>;
  }
}

#if defined(__AVX512F__)
template <class C, class W>
Beside<C, W> whole_of(int vectors) {
  switch (vectors) {
    case 1: return outer_whole<C, W, 1>;
    case 2: return outer_whole<C, W, 2>;
    default: return outer_whole<C, W, 3>;
  }
}
#endif

// For V = 1, 2, 3 vectors of blocks of so many columns.
template <class C, class W>
Beside<C, W> choose_beside(int64_t columns, int vectors) {
  constexpr int N = Lanes<C>::N;
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    if (columns == 4) return whole_of<C, W>(vectors);
  }
#endif
  if constexpr (N == 8) {
    if (columns == 4) return beside_of<C, W, 4>(vectors);
  }
  if constexpr (N > 8) {
    if (columns == 8) return beside_of<C, W, 8>(vectors);
  }
  return beside_of<C, W, 0>(vectors);
}

// For a block narrower than a register: 16 bytes (4 floats), or 32 where a register has 64.
template <class C>
Outer<C> choose_outer(int64_t columns) {
  constexpr int most = kLaneBytes;
  if (columns * int64_t(sizeof(C)) == 32) return outer<C, most < 32 ? most : 32>;
  return outer<C, 16>;
}

}  // namespace diffrender
