// Dot products of the values' gradient where a block has a side of 1: one row of dy meets eight of x,
//
// sums[e] (+)= sum over columns c:  dy[c] x_e[c]
//
// Eight chains of multiply-adds keep the arithmetic busy, and eight registers are added up crosswise at
// a time: every number is the sum of its own register's lanes in one order, wherever it stands.
#pragma once

#include "blocksparse_transpose.h"

namespace diffrender {

constexpr int kDots = 8;

// The sums of the lanes of four registers.
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

#if defined(__AVX512F__)
// Registers a and b folded, each in its halves of every 16 bytes.
inline __m512 fold_pairs(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}
inline __m512 fold_fours(__m512 a, __m512 b) {
  const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
}
// Neighbouring quarters of a, then of b.
inline __m512 fold_quarters(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
#endif

// The sums of the lanes of eight registers.
template <class C>
inline void add_up_eight(const typename Lanes<C>::V (&sum)[kDots], C (&total)[kDots]) {
#if defined(__AVX512F__)
  if constexpr (sizeof(C) == 4) {
    __m512 row[2];
    for (int r = 0; r < 2; ++r)
      row[r] = fold_fours(fold_pairs((__m512)sum[4 * r], (__m512)sum[4 * r + 1]),
                          fold_pairs((__m512)sum[4 * r + 2], (__m512)sum[4 * r + 3]));
    const __m512 halves = fold_quarters(row[0], row[1]);
    const __m256 found = _mm512_castps512_ps256(fold_quarters(halves, halves));
    std::memcpy(total, &found, sizeof found);
    return;
  }
#endif
  for (int r = 0; r < kDots; r += 4) {
    const typename Four<C>::V four = add_up<C>(sum + r);
    std::memcpy(total + r, &four, sizeof four);
  }
}

// The first `count` numbers of a vector, and zeros: nothing beyond them is read.
template <class W>
inline typename Lanes<W>::V load_part(const W* from, int64_t count) {
#if defined(__AVX512F__)
  const uint32_t some = (uint32_t(1) << count) - 1;
  if constexpr (sizeof(W) == 4) {
    return (typename Lanes<W>::V)_mm512_maskz_loadu_epi32(__mmask16(some), from);
  } else {
    return (typename Lanes<W>::V)_mm512_maskz_loadu_epi64(__mmask8(some), from);
  }
#else
  typename Lanes<W>::V v{};
  for (int64_t i = 0; i < count; ++i) v[i] = from[i];
  return v;
#endif
}

// One row of dy by eight of x: the dot products of `Known` numbers, or else `count`.
template <class C, int64_t Known>
inline void dot_eight(const C* dy, const C* const (&x)[kDots], int64_t count, C (&total)[kDots]) {
  constexpr int N = Lanes<C>::N;
  const int64_t length = Known ? Known : count;
  typename Lanes<C>::V sum[kDots] = {};
  const auto add = [&](auto load, int64_t c) {
    const typename Lanes<C>::V left = load(dy + c);
    for (int k = 0; k < kDots; ++k) sum[k] += left * load(x[k] + c);
  };
  int64_t c = 0;
  for (; c + N <= length; c += N) add([](const C* from) { return load_lanes<C>(from); }, c);
  if (c < length) add([=](const C* from) { return load_part<C>(from, length - c); }, c);
  add_up_eight<C>(sum, total);
}

// Single numbers [begin, end) of one row: sums (+)= dot products of `Known` numbers, or else `count`.
// Rows of x are `stride` apart.
template <class C, int64_t Known>
void add_numbers(const Product& p, int64_t begin, int64_t end, const C* dy, const C* x,
                 int64_t stride, int64_t count, C* sums, bool fresh) {
  // `some` numbers from e on; the last of them stands in for those that are missing.
  const auto take = [&](int64_t e, auto some) {
    const C* right[kDots];
    C total[kDots];
    for (int64_t k = 0; k < kDots; ++k)
      right[k] = x + p.indices[e + std::min<int64_t>(k, some - 1)] * stride;
    dot_eight<C, Known>(dy, right, count, total);
    for (int64_t k = 0; k < some; ++k) sums[e + k] = fresh ? total[k] : sums[e + k] + total[k];
  };
  int64_t e = begin;
  for (; e + kDots <= end; e += kDots) take(e, std::integral_constant<int64_t, kDots>());
  if (e < end) take(e, end - e);
}

// The same of blocks with one side of 1 and another of more. Rows of dy begin with the block row's.
template <class C, int64_t Known>
void add_narrow(const Product& p, int64_t begin, int64_t end, const C* dy, const C* x,
                int64_t stride, int64_t count, C* sums, bool fresh) {
  if (p.block() == 1) return add_numbers<C, Known>(p, begin, end, dy, x, stride, count, sums, fresh);
  const int64_t rows = p.out_size, columns = p.in_size, numbers = (end - begin) * columns;
  for (int64_t r = 0; r < rows; ++r, dy += stride) {
    for (int64_t first = 0; first < numbers; first += kDots) {
      const C* right[kDots];
      C* to[kDots];
      C total[kDots];
      for (int k = 0; k < kDots; ++k) {
        const int64_t number = std::min(first + k, numbers - 1);
        const int64_t e = begin + number / columns, q = number % columns;
        right[k] = x + (p.indices[e] * columns + q) * stride;
        to[k] = sums + e * p.block() + r * columns + q;
      }
      dot_eight<C, Known>(dy, right, count, total);
      for (int k = 0; k < int(std::min<int64_t>(kDots, numbers - first)); ++k)
        *to[k] = fresh ? total[k] : *to[k] + total[k];
    }
  }
}

}  // namespace diffrender
