// Gradients of the texture look-up, in the names of texture.h; twin:
// diffrender/raster/torch_texture.py.
//
// dS/du = w (m1 - m0), dS/dv = h ((1 - f) (t10 - t00) + f (t11 - t01)), 0 where clamped;
// d/dk = S_next - S_floor; and every texel adds up weight x gradient over its samples in their
// order. Each piece of the work owns rows of texels and passes over all samples, so the bits do not
// depend on threads.

#include "texture.h"

namespace diffrender {
namespace texture {

// Where the gradients go; null for those that are not wanted.
template <class T>
struct Gradients {
  T *base, *rest, *uv, *level;
};

// dL/du, dL/dv and dL/dk of sample i of a block.
template <class T, int kChannels>
inline void coordinates(const std::vector<Level<const T>>& levels, const Block<T>& block, int i,
                        int64_t n, int which, const T* go, T* by_uv, T* by_level) {
  const T f = block.x.share[i], weight = block.weight[i];
  T u = 0, v = 0, sum = 0;
  groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
    typedef decltype(lanes) L;
    typename L::V middle[2], down[2];
    load<L>(levels, block, i, n, c, middle, down);
    const typename L::V across = middle[1] - middle[0], g = L::load(go + c);
    u += L::sum(g * across);
    v += L::sum(g * (down[0] + f * (down[1] - down[0])));
    if (by_level) sum += L::sum(g * (middle[0] + f * across));
  });
  u *= weight * block.x.slope[i];
  v *= weight * block.y.slope[i];
  by_uv[0] = which ? by_uv[0] + u : u;
  by_uv[1] = which ? by_uv[1] + v : v;
  if (by_level) *by_level = !which ? -sum : block.apart[i] ? *by_level + sum : T(0);
}

// The texels around sample i of a block, those of them in this part's share of the rows.
template <class T, int kChannels>
inline void texels(const std::vector<Level<T>>& levels, const Block<T>& block, int i, int64_t n,
                   int64_t part, int64_t parts, const T* go) {
  const T weight = block.weight[i], below = weight * block.y.share[i], f = block.x.share[i];
  const int64_t height = block.height[i];
  for (int side = 0; side < 2; ++side) {
    const int64_t row = side ? block.y.high[i] : block.y.low[i];
    if (parts > 1 && (row < height * part / parts || row >= height * (part + 1) / parts)) continue;
    const T both = side ? below : weight - below, right = both * f, left = both - right;
    T* to = levels[block.index[i]].texels + row * block.width[i] * n;
    groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
      typedef decltype(lanes) L;
      const typename L::V g = L::load(go + c);
      L::add(to + c, block.x.low[i], block.x.high[i], n, left * g, right * g);
    });
  }
}

// Samples of a block in the order 0, 8, 16, ..., 1, 9, ...: neighbours add to the same texels, and
// a sum waits for the one before it.
inline int spread(int k, int count) {
  return count == kBlock ? (k % 8) * 8 + k / 8 : k;
}

template <class T, int kChannels, bool kRepeat>
void backward(const Lookup<T>& s, const T* base, const T* rest, const T* grad, int64_t threads,
              const Gradients<T>& to) {
  const int64_t n = kChannels ? kChannels : s.channels;
  const auto run = [&](int64_t t, int64_t begin, int64_t end, int64_t part, int64_t parts, bool uv) {
    const auto levels = s.pyramid(base, rest, t);
    const auto grads = s.pyramid(to.base, to.rest, t);
    const bool two = levels.size() > 1;
    Block<T> block;
    blocks(begin, end, [&](int64_t first, int count) {
      for (int which = 0; which <= int(two); ++which) {
        block.template find<kRepeat>(s, levels, first, count, which);
        for (int k = 0; k < count; ++k) {
          const int i = spread(k, count);
          const int64_t at = first + i;
          if (uv)
            coordinates<T, kChannels>(levels, block, i, n, which, grad + at * n, to.uv + 2 * at,
                                      to.level ? to.level + at : nullptr);
          if (parts) texels<T, kChannels>(grads, block, i, n, part, parts, grad + at * n);
        }
      }
      if (uv && to.level && !two) std::fill_n(to.level + first, count, T(0));
    });
  };
  const int64_t parts = to.base ? pieces(threads, s.textures, s.height) : 0;
  const bool together = parts == 1 && to.uv;  // one pass for both
  if (to.uv && !together)
    chunks(s, threads, [&](int64_t t, int64_t begin, int64_t end) {
      run(t, begin, end, 0, 0, true);
    });
  parallel(threads, s.textures * parts, [&](int64_t task) {
    const int64_t t = task / parts;
    run(t, t * s.samples, (t + 1) * s.samples, task % parts, parts, together);
  });
}

}  // namespace texture
}  // namespace diffrender

#define DIFFRENDER_TEXTURE_BACKWARD(NAME, T)                                                     \
  DIFFRENDER_API int64_t diffrender_sample_texture_backward_##NAME(                              \
      DIFFRENDER_LOOKUP(T), const T* grad, int64_t threads, T* grad_base, T* grad_rest,          \
      T* grad_uv, T* grad_level) {                                                               \
    using namespace diffrender::texture;                                                         \
    return diffrender::guarded([&]() -> int64_t {                                                \
      const Lookup<T> s = DIFFRENDER_LOOKUP_NAMES;                                               \
      const Gradients<T> to{grad_base, grad_rest, grad_uv, grad_level};                          \
      specialised(channels, repeat, [&](auto n, auto r) {                                        \
        backward<T, decltype(n)::value, decltype(r)::value>(s, base, rest, grad, threads, to);   \
      });                                                                                        \
      return diffrender::kDone;                                                                  \
    });                                                                                          \
  }

DIFFRENDER_TEXTURE_BACKWARD(f32, float)
DIFFRENDER_TEXTURE_BACKWARD(f64, double)
