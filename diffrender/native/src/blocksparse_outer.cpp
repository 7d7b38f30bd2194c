// The gradient of the values (blocksparse_outer.h) for every type of storage.

#include "blocksparse_outer.h"

#include "blocksparse_bfloat16.h"

// values: (nnz, out_size, in_size), written whole. The product is not transposed.
DIFFRENDER_API int64_t diffrender_blocksparse_outer(const void* product, const void* dy,
                                                    const void* x, void* values) {
  using namespace diffrender;
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    switch (p.dtype) {
      case 0: return gradient<float>(p, dy, x, values);
      case 1: return gradient<double>(p, dy, x, values);
      case 2:
        if (outer_pairs(p, dy, x, values)) return kDone;
        return gradient<BFloat16>(p, dy, x, values);
      default: return gradient<Float16>(p, dy, x, values);
    }
  });
}
