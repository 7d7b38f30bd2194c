// Analytic antialiasing of silhouettes; twin: diffrender/raster/torch_antialias.py. Maths:
// crossings.h.

#include <memory>

#include "crossings.h"

namespace diffrender {
namespace {

template <class T>
struct Crossed {
  std::vector<Crossings<T>> images;
  int64_t channels;
};

struct Shapes {
  const int64_t* vertex_offsets;
  Tables tables;
  int64_t meshes, height, width, channels, face_stride;
};

// The nearest layer of an image's maps, (H, W, K).
template <class T>
struct Nearest {
  const int64_t* shown;
  const T* depth;
  int64_t stride;

  int64_t face(int64_t pixel) const { return shown[pixel * stride]; }
  bool nearer(double inverse, int64_t pixel) const {
    return inverse * double(depth[pixel * stride]) > 1.0;
  }
};

// Finds and applies the crossings of image b; `threads` may share its edges.
template <class T>
int64_t one_image(const Shapes& s, int64_t b, const T* h, const int64_t* face, const T* depth,
                  int64_t threads, Crossings<T>& crossings, T* out) {
  const int64_t pixels = s.height * s.width, at = b * pixels * s.face_stride;
  const int64_t vertex0 = s.vertex_offsets[b], vertex1 = s.vertex_offsets[b + 1];
  thread_local std::vector<Pixel> points;  // kept between calls
  points.resize(vertex1 - vertex0);
  for (size_t v = 0; v < points.size(); ++v) points[v] = to_pixel(load(h, vertex0 + v));
  const Nearest<T> maps{face + at, depth + at, s.face_stride};
  const Outlines<T, Nearest<T>> outlines{h,       vertex0, vertex1,      s.height,
                                         s.width, maps,    points.data()};
  return antialias_image(outlines, s.tables.of(b), s.channels, threads, crossings,
                         out + b * pixels * s.channels);
}

// The crossings stay in `*kept` until they are taken.
template <class T>
int64_t antialias(const Shapes& s, const T* h, const int64_t* face, const T* depth,
                  const T* source, int64_t threads, T* out, int64_t* total, Crossed<T>** kept) {
  auto crossed = std::make_unique<Crossed<T>>();
  crossed->images.resize(s.meshes);
  crossed->channels = s.channels;
  std::vector<int64_t> status(s.meshes, kDone);
  large_pages(out, s.meshes * s.height * s.width * s.channels * int64_t(sizeof(T)));
  const auto one = [&](int64_t b, int64_t inner) {
    const int64_t size = s.height * s.width * s.channels;
    copy(inner, out + b * size, source + b * size, size * int64_t(sizeof(T)));
    status[b] = one_image(s, b, h, face, depth, inner, crossed->images[b], out);
  };
  if (s.meshes >= threads || threads <= 1)
    parallel(threads, s.meshes, [&](int64_t b) { one(b, 1); });
  else
    for (int64_t b = 0; b < s.meshes; ++b) one(b, threads);
  for (int64_t code : status)
    if (code != kDone) return code;
  *total = 0;
  for (const auto& image : crossed->images)
    *total += int64_t(image.list[0].size() + image.list[1].size());
  *kept = crossed.release();
  return kDone;
}

// Copies the crossings out: index (n, 4) is in, out, a, b; weight (n, 4) is along, slope, sign,
// alpha; counts (B, 2) is how many of each image are along rows and along columns.
template <class T>
int64_t take(Crossed<T>* crossed, int32_t* index, double* weight, T* difference, int64_t* counts) {
  const std::unique_ptr<Crossed<T>> owner(crossed);
  if (!index) return kDone;
  for (const auto& image : crossed->images)
    for (int i = 0; i < 2; ++i) {
      *counts++ = int64_t(image.list[i].size());
      for (const Blend& k : image.list[i]) {
        const int32_t numbers[4] = {k.in, k.out, k.a, k.b};
        const double weights[4] = {k.along, k.slope, k.sign, k.alpha};
        std::memcpy(index, numbers, sizeof numbers);
        std::memcpy(weight, weights, sizeof weights);
        index += 4;
        weight += 4;
      }
      std::copy(image.difference[i].begin(), image.difference[i].end(), difference);
      difference += image.difference[i].size();
    }
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_ANTIALIAS(NAME, T)                                                            \
  DIFFRENDER_API int64_t diffrender_antialias_##NAME(                                            \
      const int64_t* vertex_offsets, const int64_t* topology, const int64_t* edge_offsets,       \
      const int32_t* edges, const int32_t* opposite_offsets, const int32_t* opposite,            \
      int64_t meshes, int64_t height, int64_t width, int64_t channels, int64_t face_stride,      \
      const T* h, const int64_t* face, const T* depth, const T* image, int64_t threads, T* out,  \
      int64_t* total, void** kept) {                                                             \
    return diffrender::guarded([&] {                                                             \
      const diffrender::Shapes shapes{                                                           \
          vertex_offsets, {topology, edge_offsets, edges, opposite_offsets, opposite},           \
          meshes, height, width, channels, face_stride};                                         \
      return diffrender::antialias(shapes, h, face, depth, image, threads, out, total,           \
                                   reinterpret_cast<diffrender::Crossed<T>**>(kept));            \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_antialias_take_##NAME(void* kept, int32_t* index,            \
                                                          double* weight, T* difference,         \
                                                          int64_t* counts) {                     \
    return diffrender::guarded([&] {                                                             \
      return diffrender::take(static_cast<diffrender::Crossed<T>*>(kept), index, weight,         \
                              difference, counts);                                               \
    });                                                                                          \
  }

DIFFRENDER_ANTIALIAS(f32, float)
DIFFRENDER_ANTIALIAS(f64, double)
