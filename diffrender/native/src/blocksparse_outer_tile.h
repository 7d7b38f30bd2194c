// Register tiles of the values' gradient: a block as a sum of outer products over packed columns,
//
// sums[r, q] += sum over columns c:  dy[c, r] x[c, q]
//
// and, for blocks with a side of 1, sums of dot products.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// (dy, x, columns, rows of dy's block, columns of x's block, sums, fresh): sums (rows, columns).
template <class C>
using Outer = void (*)(const C*, const C*, int64_t, int64_t, int64_t, C*, bool);

// R rows by V vectors of `Bytes`.
template <class C, int Bytes, int R, int V>
void outer(const C* dy, const C* x, int64_t count, int64_t rows, int64_t columns, C* sums,
           bool fresh) {
  typedef C Vector __attribute__((vector_size(Bytes)));
  constexpr int N = Bytes / int(sizeof(C));
  for (int64_t r0 = 0; r0 < rows; r0 += R) {
    for (int64_t q0 = 0; q0 < columns; q0 += V * N) {
      Vector sum[R][V];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
      const C* left = dy + r0;
      const C* right = x + q0;
      for (int64_t c = 0; c < count; ++c, left += rows, right += columns) {
        Vector in[V];
        for (int v = 0; v < V; ++v) std::memcpy(&in[v], right + v * N, Bytes);
        for (int r = 0; r < R; ++r) {
          const Vector weight = left[r] - Vector{};
          for (int v = 0; v < V; ++v) sum[r][v] += weight * in[v];
        }
      }
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
          C* to = sums + (r0 + r) * columns + q0 + v * N;
          Vector before{};
          if (!fresh) std::memcpy(&before, to, Bytes);
          before += sum[r][v];
          std::memcpy(to, &before, Bytes);
        }
      }
    }
  }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define DIFFRENDER_JOIN_8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#endif
#endif

// Columns of N / S blocks side by side in one register.
template <class C, int S>
inline typename Lanes<C>::V side_by_side(const C* const* x, int64_t at) {
  typedef typename Lanes<C>::V V;
  constexpr int N = Lanes<C>::N;
  if constexpr (S == N) {
    return load_lanes<C>(x[0] + at);
#if defined(DIFFRENDER_JOIN_8)
  } else if constexpr (N == 8) {
    typename Four<C>::V a, b;
    std::memcpy(&a, x[0] + at, sizeof a);
    std::memcpy(&b, x[1] + at, sizeof b);
    return DIFFRENDER_JOIN_8(a, b);
#endif
  } else {
    V v;
    for (int p = 0; p < N / S; ++p)
      std::memcpy(reinterpret_cast<char*>(&v) + p * S * int(sizeof(C)), x[p] + at, S * sizeof(C));
    return v;
  }
}

// Blocks of one block row with S columns each, V registers of them: 4 rows by V vectors of sums. They
// share the numbers of dy, so that a step's loads keep up with its multiply-adds.
template <class C, int S, int V>
void outer_beside(const C* dy, const C* const* x, int64_t count, int64_t rows, C* const* sums,
                  bool fresh) {
  typedef typename Lanes<C>::V Vector;
  constexpr int P = Lanes<C>::N / S;
  for (int64_t r0 = 0; r0 < rows; r0 += 4) {
    Vector sum[4][V];
    for (int r = 0; r < 4; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
    const C* left = dy + r0;
    for (int64_t c = 0; c < count; ++c, left += rows) {
      Vector in[V];
      for (int v = 0; v < V; ++v) in[v] = side_by_side<C, S>(x + v * P, c * S);
      for (int r = 0; r < 4; ++r) {
        const Vector weight = spread_lanes<C>(left[r]);
        for (int v = 0; v < V; ++v) sum[r][v] += weight * in[v];
      }
    }
    for (int v = 0; v < V; ++v)
      for (int r = 0; r < 4; ++r) {
        C numbers[Lanes<C>::N];
        std::memcpy(numbers, &sum[r][v], sizeof numbers);
        for (int l = 0; l < Lanes<C>::N; ++l) {
          C& to = sums[v * P + l / S][(r0 + r) * S + l % S];
          to = fresh ? numbers[l] : to + numbers[l];
        }
      }
  }
}

// Blocks that are summed side by side at a time, at most.
constexpr int kBeside = 3 * kLaneBytes / 16;

// (dy, x of `blocks` <= N / S V blocks, columns, rows, their sums, fresh)
template <class C>
using Beside = void (*)(const C*, const C* const*, int64_t, int64_t, C* const*, bool);

// For V = 1, 2, 3 registers; null where blocks of `columns` are not summed side by side.
template <class C>
Beside<C> choose_beside(int64_t columns, int vectors) {
  constexpr int N = Lanes<C>::N;
  const auto of = [&](auto size) -> Beside<C> {
    constexpr int S = decltype(size)::value;
    if constexpr (S > N) {
      return nullptr;
    } else {
      switch (vectors) {
        case 1: return outer_beside<C, S, 1>;
        case 2: return outer_beside<C, S, 2>;
        default: return outer_beside<C, S, 3>;
      }
    }
  };
  switch (columns) {
    case 4: return of(std::integral_constant<int, 4>{});
    case 8: return of(std::integral_constant<int, 8>{});
    case 16: return of(std::integral_constant<int, 16>{});
    default: return nullptr;
  }
}

template <class C>
Outer<C> choose_outer(int64_t rows, int64_t columns) {
  constexpr int most = kLaneBytes;
  const int64_t bytes = columns * int64_t(sizeof(C));
  if (bytes >= 2 * most) return outer<C, most, 4, 2>;
  if (bytes == most) return rows % 8 ? outer<C, most, 4, 1> : outer<C, most, 8, 1>;
  // Narrower than a register: 16 bytes (4 floats), or 32 where a register has 64.
  if (bytes == 32) return outer<C, most < 32 ? most : 32, 4, 1>;
  return outer<C, 16, 4, 1>;
}

// Four dot products of N-lane sums at once.
template <class C>
inline typename Four<C>::V add_up(const typename Lanes<C>::V sum[4]) {
  typedef typename Four<C>::V V;
  constexpr int pieces = Lanes<C>::N / 4;
  V row[4];
  if constexpr (pieces >= 1) {
    for (int i = 0; i < 4; ++i) {
      V piece[pieces];
      std::memcpy(piece, &sum[i], sizeof piece);
      row[i] = piece[0];
      for (int p = 1; p < pieces; ++p) row[i] += piece[p];
    }
    transpose4<C>(row);
    return (row[0] + row[1]) + (row[2] + row[3]);
  } else {
    V out;
    for (int i = 0; i < 4; ++i) out[i] = sum[i][0] + sum[i][1];
    return out;
  }
}

}  // namespace diffrender
