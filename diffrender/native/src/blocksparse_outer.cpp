// The gradient of the values (blocksparse_outer.h) for every type of storage.

#include "blocksparse_outer.h"

#include "blocksparse_bfloat16.h"

namespace diffrender {
namespace {

template <class T>
int64_t gradient(const Product& p, const void* dy, const void* x, void* values) {
  typedef typename Sum<T>::type C;
  const int64_t count = p.nnz() * p.block();
  std::vector<C> wide(std::is_same<T, C>::value ? size_t(0) : size_t(count));
  C* sums = std::is_same<T, C>::value ? static_cast<C*>(values) : wide.data();
  if (p.n == 0 || p.batch == 0) {
    std::fill(sums, sums + count, C(0));
  } else {
    Gradient<T>(p, static_cast<const T*>(dy), static_cast<const T*>(x), sums).run();
    scratch(true).trim();
  }
  if constexpr (!std::is_same<T, C>::value) {
    put_all(static_cast<T*>(values), count, sums);
  }
  return kDone;
}

}  // namespace
}  // namespace diffrender

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
