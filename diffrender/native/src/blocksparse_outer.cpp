// The gradient of the values for every type of storage, by packed outer products
// (blocksparse_outer.h) or by dot products of rows (blocksparse_rows.h).

#include "blocksparse_outer.h"

#include "blocksparse_bfloat16.h"
#include "blocksparse_rows.h"

namespace diffrender {
namespace {

template <template <class, class> class How>
int64_t gradient_of(const void* product, const void* dy, const void* x, void* values,
                    bool (*pairs)(const Product&, const void*, const void*, void*)) {
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    switch (p.dtype) {
      case 0: return gradient<How, float>(p, dy, x, values);
      case 1: return gradient<How, double>(p, dy, x, values);
      case 2:
        if (pairs(p, dy, x, values)) return kDone;
        return gradient<How, BFloat16>(p, dy, x, values);
      default: return gradient<How, Float16>(p, dy, x, values);
    }
  });
}

}  // namespace
}  // namespace diffrender

// values: (nnz, out_size, in_size), written whole. The product is not transposed.
DIFFRENDER_API int64_t diffrender_blocksparse_outer(const void* product, const void* dy,
                                                    const void* x, void* values) {
  using namespace diffrender;
  return gradient_of<Gradient>(product, dy, x, values, outer_pairs);
}

// The same by rows. Sides of blocks are multiples of four.
DIFFRENDER_API int64_t diffrender_blocksparse_rows(const void* product, const void* dy,
                                                   const void* x, void* values) {
  using namespace diffrender;
  return gradient_of<RowGradient>(product, dy, x, values, rows_pairs);
}
