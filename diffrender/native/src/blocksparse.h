// What the block-sparse kernels share: the product's description, vector lanes, storage types.
//
// Values, inputs and outputs are stored as float, double, bfloat16 or float16; sums are taken in
// float (double for double). Every output element is summed by one task in a fixed order, products by
// one chain of multiply-adds, so the result depends neither on the number of threads nor on the tiling.
// These files are compiled with fused multiply-adds where the processor has them, so the last bit
// may differ between instruction sets.
#pragma once

#include <cstdlib>
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
#include <type_traits>

#include "common.h"

namespace diffrender {

// One product y = W x or y = W^T x as the kernels see it: y has `out_blocks` block rows, each with
// a list of blocks of the other side. Mirrored by diffrender/blocksparse/native_products.py.
struct Product {
  int64_t dtype;          // of storage: 0 float32, 1 float64, 2 bfloat16, 3 float16
  int64_t transposed;     // 1: y = W^T x, blocks are read through `order` and transposed
  int64_t features_last;  // 1: x (batch, n, inner), y (batch, n, outer); 0: x (batch, inner, n)
  int64_t out_blocks, in_blocks;  // block rows of y, block rows of x
  int64_t out_size, in_size;      // rows of a block on the side of y, and on the side of x
  int64_t batch, n;
  int64_t threads;
  int64_t vectors;        // vectors of columns in a panel of x, at most
  int64_t group;          // columns that are packed together
  int64_t bands;          // x is worked through in this many bands of block rows
  int64_t chunk;          // block rows of y that are summed while a band is in cache
  int64_t parts;          // row ranges of equal work that a group of columns is cut into
  int64_t window;         // blocks that the tiles of a tall block row read one after another
  int64_t pieces;         // of single numbers: row ranges that are arranged apart, a multiple of parts
  int64_t slices;         // of the gradient of the values: runs of columns whose sums are their own
  const int32_t* offsets;   // (out_blocks + 1)
  const int32_t* indices;   // (nnz)
  const int32_t* order;     // (nnz) when transposed, else null
  const int32_t* segments;  // (bands + 1, out_blocks) where a row's blocks in a band begin, or null
  // Of single numbers, as blocksparse_entries.cpp arranges them, else null.
  const void* starts;
  const void* groups;
  const int32_t* places;
  const uint16_t* steps;

  // The blocks of row i in a band: [begin(i, band), begin(i, band + 1)).
  int64_t begin(int64_t i, int64_t band) const {
    return bands == 1 ? offsets[i + band] : segments[band * out_blocks + i];
  }
  int64_t outer() const { return out_blocks * out_size; }
  int64_t inner() const { return in_blocks * in_size; }
  int64_t nnz() const { return offsets[out_blocks]; }
  int64_t block() const { return out_size * in_size; }
};

#if defined(__AVX512F__)
constexpr int kLaneBytes = 64;
#elif defined(__AVX__)
constexpr int kLaneBytes = 32;
#else
constexpr int kLaneBytes = 16;
#endif

// A register of C.
template <class C>
struct Lanes {
  typedef C V __attribute__((vector_size(kLaneBytes)));
  static constexpr int N = kLaneBytes / int(sizeof(C));
};

template <class C>
inline typename Lanes<C>::V load_lanes(const C* p) {
  typename Lanes<C>::V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class C>
inline void store_lanes(C* p, typename Lanes<C>::V v) {
  std::memcpy(p, &v, sizeof v);
}
// Whether memory is written past the caches: only where a register is a whole line of 64 bytes.
constexpr bool kStreams = kLaneBytes == 64;
// Past the caches, to the place of a whole line.
template <class C>
inline void stream_lanes(C* p, typename Lanes<C>::V v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#else
  store_lanes<C>(p, v);
#endif
}
// What was streamed is seen by other threads from here on.
inline void finish_streams() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}
template <class C>
inline typename Lanes<C>::V spread_lanes(C value) {
  return value - typename Lanes<C>::V{};  // minus zero keeps the sign of -0
}

// Two bfloat16 of neighbouring features, the first in the lower half: an operand of the instruction
// that multiplies and adds two at a time.
typedef uint32_t Pair;
// Features in one operand.
template <class W>
constexpr int64_t kTogether = std::is_same<W, Pair>::value ? 2 : 1;

// sum += a b, of pairs the sum of both products.
template <class C, class W>
inline void add_product(typename Lanes<C>::V& sum, const typename Lanes<W>::V& a,
                        const typename Lanes<W>::V& b) {
#if defined(__AVX512BF16__)
  if constexpr (std::is_same<W, Pair>::value) {
    sum = (typename Lanes<C>::V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    return;
  }
#endif
  if constexpr (std::is_same<W, C>::value) sum += a * b;
}

// sum[v] += weight in[v]. Written out for AVX2, where it fills all registers: left to itself, GCC
// moves sums between registers and memory.
template <class C, class W, int V>
inline void add_scaled(typename Lanes<C>::V (&sum)[V], const typename Lanes<W>::V (&in)[V],
                       const W& weight) {
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__) && defined(__x86_64__)
#define DIFFRENDER_SCALED(kind)                                                              \
  asm("vbroadcasts" kind " %7, %3\n\tvfmadd231p" kind " %4, %3, %0\n\tvfmadd231p" kind       \
      " %5, %3, %1\n\tvfmadd231p" kind " %6, %3, %2"                                         \
      : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "=&x"(w)                                   \
      : "x"(in[0]), "x"(in[1]), "x"(in[2]), "m"(weight))
  if constexpr (V == 3) {
    typename Lanes<C>::V w;
    if constexpr (sizeof(C) == 4)
      DIFFRENDER_SCALED("s");
    else
      DIFFRENDER_SCALED("d");
    return;
  }
#undef DIFFRENDER_SCALED
#endif
  const typename Lanes<W>::V w = spread_lanes<W>(weight);
  for (int v = 0; v < V; ++v) add_product<C, W>(sum[v], in[v], w);
}

inline void prefetch_bytes(const void* from, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(static_cast<const char*>(from) + b);
}

// Storage types without arithmetic, and how they become numbers.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class To, class From>
inline To from_bits(From value) {
  To out;
  static_assert(sizeof(To) == sizeof(From), "same bits");
  std::memcpy(&out, &value, sizeof out);
  return out;
}

inline float number(float value) { return value; }
inline double number(double value) { return value; }
inline Pair number(Pair value) { return value; }
inline float number(BFloat16 value) { return from_bits<float>(uint32_t(value.bits) << 16); }
// Exponent and fraction are moved into place and rescaled, which also mends subnormals.
inline float number(Float16 value) {
  const uint32_t rest = uint32_t(value.bits & 0x7fff) << 13;
  const uint32_t sign = uint32_t(value.bits & 0x8000) << 16;
  const float scaled = from_bits<float>(rest) * from_bits<float>(uint32_t(0x77800000));  // 2^112
  const uint32_t special = rest >= 0x0f800000u ? 0x7f800000u : 0u;  // infinite or NaN
  return from_bits<float>(from_bits<uint32_t>(scaled) | sign | special);
}

// Rounded to nearest, ties to even, as torch does.
inline void put(float& to, float value) { to = value; }
inline void put(double& to, double value) { to = value; }
inline void put(BFloat16& to, float value) {
  const uint32_t bits = from_bits<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = uint16_t(nan ? 0x7fc0u | (bits >> 16) : rounded);
}
inline void put(Float16& to, float value) {
  const uint32_t bits = from_bits<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
  // Below 2^-14 adding 1/2 rounds to multiples of 2^-24, which are float16's subnormals.
  const float small = from_bits<float>(rest) + 0.5f;
  const uint32_t subnormal = from_bits<uint32_t>(small) - 0x3f000000u;
  const uint32_t normal = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  uint32_t half = rest < 0x38800000u ? subnormal : normal;
  half = rest >= 0x477ff000u ? 0x7c00u : half;  // beyond 65519.99...: infinite
  half = rest > 0x7f800000u ? 0x7e00u : half;   // NaN
  to.bits = uint16_t(sign | half);
}

// `count` numbers out of storage. The processor's own conversion of float16, where there is one.
template <class T, class C>
inline void widen_all(const T* from, int64_t count, C* to) {
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (std::is_same<T, Float16>::value) {
    for (; i + 8 <= count; i += 8) {
      const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(bits));
    }
  }
#endif
  for (; i < count; ++i) to[i] = C(number(from[i]));
}

// `count` numbers into storage, rounded as `put` does.
template <class T, class C>
inline void put_all(T* to, int64_t count, const C* from) {
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (std::is_same<T, Float16>::value) {
    for (; i + 8 <= count; i += 8) {
      const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), bits);
    }
  }
#endif
  for (; i < count; ++i) put(to[i], from[i]);
}

// What sums are taken in.
template <class T>
struct Sum {
  typedef float type;
};
template <>
struct Sum<double> {
  typedef double type;
};

// A thread's own memory, kept between calls up to `kKept` bytes.
class Scratch {
 public:
  ~Scratch() { std::free(memory_); }
  // `bytes` of memory on a huge page; what an earlier call returned is gone.
  void* take(int64_t bytes);
  // Frees more than is kept.
  void trim();

 private:
  static constexpr int64_t kKept = 32 << 20;
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

// The calling thread's: one for its own tasks, one for what it lends to all of them.
Scratch& scratch(bool shared = false);

// work(r) for every row, some at a time.
template <class Work>
void each_row(int64_t threads, int64_t rows, Work work) {
  constexpr int64_t kRows = 64;
  parallel_with_torch(threads, (rows + kRows - 1) / kRows, [&](int64_t task) {
    for (int64_t r = task * kRows; r < std::min(rows, (task + 1) * kRows); ++r) work(r);
  });
}

// First block row of each of `parts` ranges of about equal numbers of blocks (and rows), and the
// end: part p is [cut(p), cut(p + 1)).
inline int64_t cut(const int32_t* offsets, int64_t rows, int64_t parts, int64_t p) {
  // A row costs a little even when it is empty: work up to row r is offsets[r] + r.
  const double target = double(offsets[rows] + rows) * double(p) / double(parts);
  int64_t low = 0, high = rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (double(offsets[middle]) + double(middle) < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace diffrender
