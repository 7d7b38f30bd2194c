// The memory that the block-sparse kernels pack into: a thread's own, on huge pages where the system
// grants them, so that a packed panel costs few address translations.

#include "blocksparse.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace diffrender {

void* Scratch::take(int64_t bytes) {
  constexpr int64_t kHuge = 2 << 20;
  if (bytes > size_) {
    std::free(memory_);
    memory_ = nullptr;
    size_ = 0;
    const int64_t rounded = (bytes + kHuge - 1) / kHuge * kHuge;
    if (posix_memalign(&memory_, size_t(kHuge), size_t(rounded)) != 0) {
      memory_ = nullptr;
      throw std::bad_alloc();
    }
#if defined(__linux__)
    madvise(memory_, size_t(rounded), MADV_HUGEPAGE);  // a wish
#endif
    size_ = rounded;
  }
  return memory_;
}

void Scratch::trim() {
  if (size_ <= kKept) return;
  std::free(memory_);
  memory_ = nullptr;
  size_ = 0;
}

Scratch& scratch(bool shared) {
  thread_local Scratch mine, lent;
  return shared ? lent : mine;
}

}  // namespace diffrender
