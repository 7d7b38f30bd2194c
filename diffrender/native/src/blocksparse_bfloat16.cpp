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

}  // namespace

bool multiply_pairs(const Product& product, const void* values, const void* x, void* y) {
  return fits(product, values, x) && multiply<BFloat16, Pair>(product, values, x, y) == kDone;
}

bool outer_pairs(const Product& product, const void* dy, const void* x, void* values) {
  const bool even = product.n % 2 == 0 && product.group % 2 == 0;
  return even && fits(product, dy, x) &&
         gradient<BFloat16, Pair>(product, dy, x, values) == kDone;
}

#else

bool multiply_pairs(const Product&, const void*, const void*, void*) { return false; }
bool outer_pairs(const Product&, const void*, const void*, void*) { return false; }

#endif

}  // namespace diffrender
