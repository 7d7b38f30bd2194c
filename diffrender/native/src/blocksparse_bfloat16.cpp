// Block-sparse products of bfloat16 with VDPBF16PS (AVX512-BF16): a register of sums takes
//
//   y[r, c] += w[r, 2j] x[2j, c] + w[r, 2j + 1] x[2j + 1, c]
//   dw[r, q] += dy[r, 2c] x[q, 2c] + dy[r, 2c + 1] x[q, 2c + 1]
//
// in one instruction, twice the work of a float32 multiply-add, and operands take half the memory.
// What is summed over is packed two by two; a transposed product turns its values around first. Sums
// are float32, each product exact but for numbers below 2^-126, which count as zero.
// Torch twin: diffrender/blocksparse/torch_products.py.

#include "blocksparse_bfloat16.h"

#if defined(__AVX512BF16__)
#include "blocksparse_multiply.h"
#include "blocksparse_outer.h"
#include "blocksparse_rows.h"
#endif

namespace diffrender {

#if defined(__AVX512BF16__)

namespace {

// Whether the processor has the instruction, and sides and places are whole pairs.
bool fits(const Product& p, const void* first, const void* second) {
  static const bool has = __builtin_cpu_supports("avx512bf16");
  const uintptr_t places = reinterpret_cast<uintptr_t>(first) | reinterpret_cast<uintptr_t>(second);
  return has && p.out_size % 4 == 0 && p.in_size % 4 == 0 && places % sizeof(Pair) == 0;
}

// Whether columns come in whole pairs.
bool even(const Product& p) { return p.n % 2 == 0 && p.group % 2 == 0; }

}  // namespace

bool multiply_pairs(const Product& product, const void* values, const void* x, void* y) {
  return fits(product, values, x) && multiply<BFloat16, Pair>(product, values, x, y) == kDone;
}

bool outer_pairs(const Product& product, const void* dy, const void* x, void* values) {
  return even(product) && fits(product, dy, x) &&
         gradient<Gradient, BFloat16, Pair>(product, dy, x, values) == kDone;
}

bool rows_pairs(const Product& product, const void* dy, const void* x, void* values) {
  return !product.features_last && even(product) && fits(product, dy, x) &&
         gradient<RowGradient, BFloat16, Pair>(product, dy, x, values) == kDone;
}

#else

bool multiply_pairs(const Product&, const void*, const void*, void*) { return false; }
bool outer_pairs(const Product&, const void*, const void*, void*) { return false; }
bool rows_pairs(const Product&, const void*, const void*, void*) { return false; }

#endif

}  // namespace diffrender
