// The gradient of the values by dot products along the columns, out of rows of dy and x:
//
// dw_e[r, q] = sum over batch and columns c:  dy[out_size i(e) + r, c] x[in_size j(e) + q, c]
//
// Four rows of dy by four of x (two where a processor has sixteen registers) are summed in registers,
// a vector of columns at a time, and every register is added up at the end. Where columns lie side by
// side nothing is packed, and with features last dy and x are turned around once: so this is the way
// where blocks are few or narrow, and blocksparse_outer.h, which packs both into a better form, where
// a number is used often. Where a side is 1 one row of dy meets eight of x. Columns are taken in chunks,
// in order, and each value is summed by one task: the threads change no bit. Sides are 1 or multiples
// of four. Torch twin: diffrender/blocksparse/torch_products.py.
//
// T is the type of storage, W that of the operands: as the sums, or pairs of bfloat16 of neighbouring
// columns (blocksparse_bfloat16.cpp), which are read as they lie; a pair of columns counts as one.
#pragma once

#include "blocksparse_dots.h"
#include "blocksparse_pack.h"
#include "blocksparse_slices.h"

namespace diffrender {
namespace {

// Rows of x at a time, so that the sums fill the registers.
constexpr int kAcross = kLaneBytes == 64 ? 4 : 2;

// to[r * step + q] (+)= the sum of all numbers of sum[q][r].
template <class C>
inline void put_sums(const typename Lanes<C>::V (&sum)[kAcross][4], C* to, int64_t step,
                     bool fresh) {
#if defined(__AVX512F__)
  if constexpr (sizeof(C) == 4) {
    // Halves, then quarters of registers are added crosswise: a register of all sixteen sums.
    __m512 row[4];
    for (int r = 0; r < 4; ++r)
      row[r] = fold_fours(fold_pairs((__m512)sum[0][r], (__m512)sum[1][r]),
                          fold_pairs((__m512)sum[2][r], (__m512)sum[3][r]));
    const __m512 total =
        fold_quarters(fold_quarters(row[0], row[1]), fold_quarters(row[2], row[3]));
    alignas(64) C numbers[4][4];
    std::memcpy(numbers, &total, sizeof total);
    for (int r = 0; r < 4; ++r) {
      typename Four<C>::V before{}, added;
      std::memcpy(&added, numbers[r], sizeof added);
      if (!fresh) std::memcpy(&before, to + r * step, sizeof before);
      before += added;
      std::memcpy(to + r * step, &before, sizeof before);
    }
    return;
  }
#endif
  for (int q = 0; q < kAcross; ++q) {
    const typename Four<C>::V total = add_up<C>(sum[q]);
    for (int r = 0; r < 4; ++r) {
      C& place = to[r * step + q];
      place = fresh ? total[r] : place + total[r];
    }
  }
}

// Four rows of dy by kAcross rows of x: to[r * step + q] (+)= the dot products of `count` numbers.
// `next` rows of x come in meanwhile.
template <class C, class W>
void dot_rows(const W* dy, int64_t dy_stride, const W* x, int64_t x_stride, int64_t count,
              const W* next, C* to, int64_t step, bool fresh) {
  constexpr int N = Lanes<C>::N;
  typename Lanes<C>::V sum[kAcross][4] = {};
  const auto add = [&](auto load, int64_t c) {
    typename Lanes<W>::V left[4];
    for (int r = 0; r < 4; ++r) left[r] = load(dy + r * dy_stride + c);
    for (int q = 0; q < kAcross; ++q) {
      const typename Lanes<W>::V right = load(x + q * x_stride + c);
      for (int r = 0; r < 4; ++r) add_product<C, W>(sum[q][r], left[r], right);
    }
  };
  int64_t c = 0;
  for (; c + N <= count; c += N) {
    if (next != nullptr)
      for (int q = 0; q < kAcross; ++q) __builtin_prefetch(next + q * x_stride + c);
    add([](const W* from) { return load_lanes<W>(from); }, c);
  }
  if (c < count) add([=](const W* from) { return load_part<W>(from, count - c); }, c);
  put_sums<C>(sum, to, step, fresh);
}

template <class T, class W = typename Sum<T>::type>
class RowGradient {
  typedef typename Sum<T>::type C;
  static constexpr int64_t K = kTogether<W>;
  // Whether storage holds operands as they are.
  static constexpr bool kPlain = K > 1 || std::is_same<T, W>::value;

 public:
  RowGradient(const Product& product, const T* dy, const T* x, C* sums)
      : p_(product), dy_(dy), x_(x), sums_(sums) {}

  void run() {
    const int64_t chunk = std::min(p_.group, p_.n);
    if (kPlain && !p_.features_last) return add_as_they_lie(chunk);
    if constexpr (K == 1) {
      deal_out<W>(
          p_, dy_, x_, chunk, chunk, sums_,
          [&](const T* from, int64_t length, int64_t size, int64_t begin, int64_t end, int64_t c,
              int64_t count, int64_t threads, W* to) {
            pack(from, length, begin * size, end * size, c, count, threads, to);
          },
          [&](int64_t row, int64_t last, const Packed<W>& packed, int64_t count, C* sums,
              bool fresh) {
            add(row, last, packed.dy, packed.first, packed.x, count, count, sums, fresh);
          });
    }
  }

 private:
  void add_as_they_lie(int64_t chunk) const {
    const W* const dy = reinterpret_cast<const W*>(dy_);
    const W* const x = reinterpret_cast<const W*>(x_);
    const int64_t outer = p_.outer(), inner = p_.inner(), n = p_.n / K;
    parallel_with_torch(p_.threads, p_.parts, [&](int64_t part) {
      const int64_t row = cut(p_.offsets, p_.out_blocks, p_.parts, part);
      const int64_t last = cut(p_.offsets, p_.out_blocks, p_.parts, part + 1);
      for (int64_t batch = 0; batch < p_.batch; ++batch)
        for (int64_t c = 0; c < n; c += chunk / K)
          add(row, last, dy + batch * outer * n + c, 0, x + batch * inner * n + c, n,
              std::min(chunk / K, n - c), sums_, batch == 0 && c == 0);
    });
  }

  // (rows, count): columns of rows [first, last), of `length`, side by side from `column` on.
  void pack(const T* from, int64_t length, int64_t first, int64_t last, int64_t column,
            int64_t count, int64_t threads, W* to) const {
    constexpr int64_t some = 16;
    parallel_with_torch(threads, (last - first + some - 1) / some, [&](int64_t task) {
      const int64_t begin = first + task * some, end = std::min(last, begin + some);
      W* const place = to + task * some * count;
      if (p_.features_last) {
        pack_transposed(from + column * length + begin, length, count, end - begin, place, count);
      } else {
        for (int64_t r = begin; r < end; ++r)
          pack_row(from + r * p_.n + column, count, count, place + (r - begin) * count);
      }
    });
  }

  // Block rows [row, last), of `count` columns whose rows are `stride` apart; dy begins with block
  // row `first`.
  void add(int64_t row, int64_t last, const W* dy, int64_t first, const W* x, int64_t stride,
           int64_t count, C* sums, bool fresh) const {
    const int64_t rows = p_.out_size, columns = p_.in_size;
    for (int64_t i = row; i < last; ++i) {
      const W* left = dy + (i - first) * rows * stride;
      if constexpr (K == 1) {
        if (rows == 1 || columns == 1) {
          add_narrow<C, 0>(p_, p_.offsets[i], p_.offsets[i + 1], left, x, stride, count,
                              sums, fresh);
          continue;
        }
      }
      for (int64_t e = p_.offsets[i], end = p_.offsets[i + 1]; e < end; ++e) {
        const W* right = x + p_.indices[e] * columns * stride;
        const W* after = x + p_.indices[std::min(e + 1, end - 1)] * columns * stride;
        for (int64_t q = 0; q < columns; q += kAcross) {
          const W* here = right + q * stride;
          const W* next = q + kAcross < columns ? here + kAcross * stride : after;
          for (int64_t r = 0; r < rows; r += 4)
            dot_rows<C, W>(left + r * stride, stride, here, stride, count, r == 0 ? next : nullptr,
                           sums + e * p_.block() + r * columns + q, columns, fresh);
        }
      }
    }
  }

  const Product& p_;
  const T* dy_;
  const T* x_;
  C* sums_;
};

}  // namespace
}  // namespace diffrender
