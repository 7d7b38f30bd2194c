// The block-sparse product of many columns (blocksparse_multiply.h) for every type of storage.

#include "blocksparse_multiply.h"

#include "blocksparse_bfloat16.h"

namespace diffrender {
namespace {

// Where the blocks of each row begin in each of the bands.
void find_segments(const Product& p, int32_t* segments) {
  const int64_t band = (p.in_blocks + p.bands - 1) / p.bands, rows = p.out_blocks;
  each_row(p.threads, rows, [&](int64_t i) {
    int64_t e = p.offsets[i];
    for (int64_t b = 0; b <= p.bands; ++b) {
      while (e < p.offsets[i + 1] && p.indices[e] < b * band) ++e;
      segments[b * rows + i] = int32_t(b == p.bands ? p.offsets[i + 1] : e);
    }
  });
}

}  // namespace
}  // namespace diffrender

// segments: (bands + 1, out_blocks), to be given back in the product.
DIFFRENDER_API int64_t diffrender_blocksparse_segments(const void* product, void* segments) {
  using namespace diffrender;
  return guarded([&]() -> int64_t {
    find_segments(*static_cast<const Product*>(product), static_cast<int32_t*>(segments));
    return kDone;
  });
}

DIFFRENDER_API int64_t diffrender_blocksparse_multiply(const void* product, const void* values,
                                                       const void* x, void* y) {
  using namespace diffrender;
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    switch (p.dtype) {
      case 0: return multiply<float>(p, values, x, y);
      case 1: return multiply<double>(p, values, x, y);
      case 2:
        if (multiply_pairs(p, values, x, y)) return kDone;
        return multiply<BFloat16>(p, values, x, y);
      default: return multiply<Float16>(p, values, x, y);
    }
  });
}
