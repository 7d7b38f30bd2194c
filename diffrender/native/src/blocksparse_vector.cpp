// The block-sparse product with a single column, which is as fast as the values can be read.
//
// y = W x: each block row keeps its sums in the nearest cache and reads its blocks one after
// another, as they lie. y = W^T x reads the same way: a fixed number of row ranges (`parts`, chosen
// from the size alone) add to an output of their own, and those are added up in order, so the
// result does not depend on the threads. The product's lists are those of W's rows in both cases.
// Torch twin: diffrender/blocksparse/torch_products.py.

#include "blocksparse_pack.h"

namespace diffrender {
namespace {

// Lanes side by side in storage, as numbers: a register of them, four, or one.
template <class C, int N>
struct Piece {
  typedef C V __attribute__((vector_size(N * sizeof(C))));
  template <class T>
  static V read(const T* from) {
    V v;
    if constexpr (std::is_same<T, C>::value) {
      std::memcpy(&v, from, sizeof v);
    } else {
      for (int l = 0; l < N; ++l) v[l] = C(number(from[l]));
    }
    return v;
  }
  static V spread(C value) { return value - V{}; }
  static C total(V v) {
    C sum = v[0];
    for (int l = 1; l < N; ++l) sum += v[l];
    return sum;
  }
};
template <class C>
struct Piece<C, 1> {
  typedef C V;
  template <class T>
  static V read(const T* from) {
    return C(number(*from));
  }
  static V spread(C value) { return value; }
  static C total(V v) { return v; }
};

// Rows [row, last) of y = W x, `x` as numbers.
// `Square`: the block's side where it is known beforehand, which keeps the sums in registers.
template <class T, class C, int N, int Square>
void gather(const Product& p, const T* values, const C* x, T* y, int64_t row, int64_t last) {
  typedef Piece<C, N> P;
  typename P::V sums[64];
  const int64_t out = Square ? Square : p.out_size, in = Square ? Square : p.in_size;
  for (int64_t i = row; i < last; ++i) {
    for (int64_t r = 0; r < out; ++r) sums[r] = typename P::V{};
    for (int64_t e = p.offsets[i]; e < p.offsets[i + 1]; ++e) {
      const T* w = values + e * out * in;
      const C* from = x + p.indices[e] * in;
      // Blocks of these sides are read a little faster than the processor looks ahead by itself;
      // those of 8 and 32 lose by it.
      if constexpr (Square == 4 || Square == 16)
        prefetch_bytes(w + 1024 / int64_t(sizeof(T)), out * in * int64_t(sizeof(T)));
      for (int64_t r = 0; r < out; ++r, w += in) {
        typename P::V sum = sums[r];
        for (int64_t q = 0; q < in; q += N) sum += P::read(w + q) * P::read(from + q);
        sums[r] = sum;
      }
    }
    for (int64_t r = 0; r < out; ++r) put(y[i * out + r], P::total(sums[r]));
  }
}

// The same for blocks of a single number: eight chains of sums.
template <class T, class C>
void gather_entries(const Product& p, const T* values, const C* x, T* y, int64_t row,
                    int64_t last) {
  for (int64_t i = row; i < last; ++i) {
    C sums[8] = {};
    int64_t e = p.offsets[i];
    const int64_t end = p.offsets[i + 1];
    for (; e + 8 <= end; e += 8)
      for (int u = 0; u < 8; ++u) sums[u] += C(number(values[e + u])) * x[p.indices[e + u]];
    for (int u = 0; e < end; ++e, ++u) sums[u] += C(number(values[e])) * x[p.indices[e]];
    put(y[i], ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                  ((sums[4] + sums[5]) + (sums[6] + sums[7])));
  }
}

// What rows [row, last) add to y = W^T x.
template <class T, class C, int N, int Square>
void scatter(const Product& p, const T* values, const C* x, C* y, int64_t row, int64_t last) {
  typedef Piece<C, N> P;
  const int64_t out = Square ? Square : p.out_size, in = Square ? Square : p.in_size;
  for (int64_t i = row; i < last; ++i) {
    for (int64_t e = p.offsets[i]; e < p.offsets[i + 1]; ++e) {
      const T* w = values + e * out * in;
      C* to = y + p.indices[e] * in;
      for (int64_t q = 0; q < in; q += N) {
        typename P::V sum = P::read(to + q);
        for (int64_t r = 0; r < out; ++r)
          sum += P::read(w + r * in + q) * P::spread(x[i * out + r]);
        std::memcpy(to + q, &sum, sizeof sum);
      }
    }
  }
}

template <class T, class C>
void scatter_entries(const Product& p, const T* values, const C* x, C* y, int64_t row,
                     int64_t last) {
  for (int64_t i = row; i < last; ++i) {
    const C weight = x[i];
    const int32_t* index = p.indices;
    for (int64_t e = p.offsets[i], end = p.offsets[i + 1]; e < end; ++e)
      y[index[e]] += C(number(values[e])) * weight;
  }
}

template <class T, class C, int N>
void rows_by(const Product& p, const T* values, const C* x, T* y, C* own, int64_t row,
             int64_t last) {
  const bool square = p.out_size == p.in_size;
  if (p.transposed) {
    if (square && p.in_size == 4) return scatter<T, C, N < 4 ? N : 4, 4>(p, values, x, own, row, last);
    if (square && p.in_size == 8) return scatter<T, C, N < 8 ? N : 8, 8>(p, values, x, own, row, last);
    return scatter<T, C, N, 0>(p, values, x, own, row, last);
  }
  if (square && p.in_size == 4) return gather<T, C, N < 4 ? N : 4, 4>(p, values, x, y, row, last);
  if (square && p.in_size == 8) return gather<T, C, N < 8 ? N : 8, 8>(p, values, x, y, row, last);
  return gather<T, C, N, 0>(p, values, x, y, row, last);
}

// Rows [row, last): written to y, or added to `own` when transposed.
template <class T, class C>
void rows(const Product& p, const T* values, const C* x, T* y, C* own, int64_t row, int64_t last) {
  if (p.out_size == 1 && p.in_size == 1) {
    if (p.transposed) return scatter_entries(p, values, x, own, row, last);
    return gather_entries(p, values, x, y, row, last);
  }
  if (p.in_size % Lanes<C>::N == 0)
    return rows_by<T, C, Lanes<C>::N>(p, values, x, y, own, row, last);
  if (p.in_size % 4 == 0) return rows_by<T, C, 4>(p, values, x, y, own, row, last);
  return rows_by<T, C, 1>(p, values, x, y, own, row, last);
}

template <class T>
int64_t vector(const Product& p, const void* values, const void* x, void* y) {
  typedef typename Sum<T>::type C;
  const T* stored = static_cast<const T*>(values);
  const int64_t from_size = p.transposed ? p.outer() : p.inner();
  const int64_t to_size = p.transposed ? p.inner() : p.outer();
  const int64_t partial = p.transposed ? p.parts * to_size : 0;
  C* sums = static_cast<C*>(scratch(true).take((partial + from_size) * int64_t(sizeof(C))));
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    const T* from = static_cast<const T*>(x) + batch * from_size;
    T* to = static_cast<T*>(y) + batch * to_size;
    const C* numbers;
    if constexpr (std::is_same<T, C>::value) {
      numbers = from;
    } else {
      C* wide = sums + partial;
      for (int64_t j = 0; j < from_size; ++j) wide[j] = number(from[j]);
      numbers = wide;
    }
    parallel_with_torch(p.threads, p.parts, [&](int64_t part) {
      const int64_t row = cut(p.offsets, p.out_blocks, p.parts, part);
      const int64_t last = cut(p.offsets, p.out_blocks, p.parts, part + 1);
      C* own = sums + (p.transposed ? part * to_size : 0);
      if (p.transposed) std::memset(own, 0, size_t(to_size) * sizeof(C));
      rows(p, stored, numbers, to, own, row, last);
    });
    for (int64_t j = 0; p.transposed && j < to_size; ++j) {
      C total = sums[j];
      for (int64_t part = 1; part < p.parts; ++part) total += sums[part * to_size + j];
      put(to[j], total);
    }
  }
  scratch(true).trim();
  return kDone;
}

}  // namespace
}  // namespace diffrender

// y of W (or W^T when `transposed`) and `batch` vectors x, one after another.
DIFFRENDER_API int64_t diffrender_blocksparse_vector(const void* product, const void* values,
                                                     const void* x, void* y) {
  using namespace diffrender;
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    switch (p.dtype) {
      case 0: return vector<float>(p, values, x, y);
      case 1: return vector<double>(p, values, x, y);
      case 2: return vector<BFloat16>(p, values, x, y);
      default: return vector<Float16>(p, values, x, y);
    }
  });
}
