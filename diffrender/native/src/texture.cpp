// Texture look-up, bilinear and trilinear, with the maths of texture.h; twin:
// diffrender/raster/torch_texture.py.

#include "texture.h"

namespace diffrender {
namespace texture {

template <class T, int kChannels, bool kRepeat>
void forward(const Lookup<T>& s, const T* base, const T* rest, int64_t threads, T* out) {
  const int64_t n = kChannels ? kChannels : s.channels;
  chunks(s, threads, [&](int64_t t, int64_t begin, int64_t end) {
    const auto levels = s.pyramid(base, rest, t);
    const bool two = levels.size() > 1;
    Block<T> block;
    blocks(begin, end, [&](int64_t first, int count) {
      for (int which = 0; which <= int(two); ++which) {
        block.template find<kRepeat>(s, levels, first, count, which);
        for (int i = 0; i < count; ++i) {
          if (which && block.weight[i] == T(0)) continue;
          groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
            typedef decltype(lanes) L;
            typename L::V middle[2], down[2];
            load<L>(levels, block, i, n, c, middle, down);
            T* o = out + (first + i) * n + c;
            typename L::V value = middle[0] + block.x.share[i] * (middle[1] - middle[0]);
            if (two) value *= block.weight[i];
            if (which) value += L::load(o);
            L::store(o, value);
          });
        }
      }
    });
  });
}

}  // namespace texture
}  // namespace diffrender

#define DIFFRENDER_TEXTURE(NAME, T)                                                              \
  DIFFRENDER_API int64_t diffrender_sample_texture_##NAME(DIFFRENDER_LOOKUP(T), int64_t threads, \
                                                          T* out) {                              \
    using namespace diffrender::texture;                                                         \
    return diffrender::guarded([&]() -> int64_t {                                                \
      const Lookup<T> s = DIFFRENDER_LOOKUP_NAMES;                                               \
      specialised(channels, repeat, [&](auto n, auto r) {                                        \
        forward<T, decltype(n)::value, decltype(r)::value>(s, base, rest, threads, out);         \
      });                                                                                        \
      return diffrender::kDone;                                                                  \
    });                                                                                          \
  }

DIFFRENDER_TEXTURE(f32, float)
DIFFRENDER_TEXTURE(f64, double)
