// Gradient of rasterize.cpp: from barycentrics and depth to the homogeneous vertices.
//
// Either gradient may be null, for zero. With g_i = dL/db_i - sum_j b_j dL/db_j - z dL/dz and
// A_ji = sum over the face's pixels of b_j g_i: dL/dh_j = -sum_i A_ji n_i / det (see rasterize.cpp
// for n and det). An image is cut into chunks of a fixed size. Within one, every face adds up its
// pixels in scan order, layer by layer; the chunks' faces are then added to the vertices in order.
// So the bits do not depend on the number of threads.

#include "raster.h"

namespace diffrender {
namespace {

template <class T>
struct Maps {
  int64_t pixels, layers;
  const int64_t* face;
  const T *bary, *depth, *grad_bary, *grad_depth;
};

// Adds the pixels [first, last) of one layer of one face to a[4 j + i] = A_ji, in registers along
// the run. The fourth lane of each sum is junk.
template <class T>
inline void gather(const Maps<T>& maps, int64_t first, int64_t last, int64_t layer, double* a) {
  const T *bary = maps.bary, *by_bary = maps.grad_bary;
  Lanes4 a0 = load4(a), a1 = load4(a + 4), a2 = load4(a + 8);
  const auto one = [&](int64_t i, const Lanes4& b, Lanes4 g) {
    double shift = sum3(b * g);
    if (maps.grad_depth) shift += double(maps.depth[i]) * maps.grad_depth[i];
    g -= spread(shift);
    a0 += spread(b[0]) * g;
    a1 += spread(b[1]) * g;
    a2 += spread(b[2]) * g;
  };
  const Lanes4 none{0, 0, 0, 0};
  for (int64_t p = first; p < last; ++p) {
    const int64_t i = p * maps.layers + layer;
    if (i + 1 < maps.pixels * maps.layers)  // the fourth number is the next pixel's first
      one(i, load4(bary + 3 * i), by_bary ? load4(by_bary + 3 * i) : none);
    else
      one(i, load3(bary + 3 * i), by_bary ? load3(by_bary + 3 * i) : none);
  }
  std::memcpy(a, &a0, sizeof a0);
  std::memcpy(a + 4, &a1, sizeof a1);
  std::memcpy(a + 8, &a2, sizeof a2);
}

struct Corner {
  int64_t face;  // packed
  Vec3 grad[3];
};

// Gradients at the corners of the faces that pixels [first, last) of one image show.
template <class T>
void chunk_backward(const T* h, const int64_t* faces, const Maps<T>& maps, int64_t face0,
                    int64_t count, int64_t first, int64_t last, std::vector<Corner>& found) {
  thread_local Met met;  // kept between calls, as are the sums
  thread_local std::vector<double> sums;
  met.open(count);
  sums.clear();
  for (int64_t layer = 0; layer < maps.layers; ++layer)
    visit_runs(maps.face + layer, maps.layers, first, last, [&](int64_t i, int64_t end, int64_t f) {
      if (f < 0) return;
      bool fresh;
      const int64_t n = met.of(f - face0, fresh);
      if (fresh) sums.resize(sums.size() + 12, 0.0);
      gather(maps, i, end, layer, sums.data() + 12 * n);
    });
  found.clear();
  for (size_t n = 0; n < met.faces.size(); ++n) {
    const double* a = sums.data() + 12 * n;
    bool any = false;
    for (int i = 0; i < 12; ++i) any |= i % 4 != 3 && a[i] != 0;
    if (!any) continue;
    const int64_t f = face0 + met.faces[n];
    const Vec3 c[3] = {load(h, faces[3 * f]), load(h, faces[3 * f + 1]), load(h, faces[3 * f + 2])};
    const Vec3 normal[3] = {cross(c[1], c[2]), cross(c[2], c[0]), cross(c[0], c[1])};
    const double scale = -1.0 / dot(c[0], normal[0]);
    Corner corner{f, {}};
    for (int j = 0; j < 3; ++j, a += 4)
      corner.grad[j] = (normal[0] * a[0] + normal[1] * a[1] + normal[2] * a[2]) * scale;
    found.push_back(corner);
  }
  met.close();
}

template <class T>
int64_t rasterize_backward(const T* h, int64_t vertices, const int64_t* faces, const int64_t* face_offsets,
                           int64_t meshes, int64_t pixels, int64_t layers, const int64_t* face,
                           const T* bary, const T* depth, const T* grad_bary, const T* grad_depth,
                           int64_t threads, T* grad_h) {
  const int64_t chunks = chunks_of(pixels);
  const auto chunk = [&](int64_t b, int64_t k, std::vector<Corner>& found) {
    const int64_t at = b * pixels * layers;
    const Maps<T> maps{pixels, layers, face + at, bary + 3 * at, depth + at,
                       grad_bary ? grad_bary + 3 * at : nullptr,
                       grad_depth ? grad_depth + at : nullptr};
    chunk_backward(h, faces, maps, face_offsets[b], face_offsets[b + 1] - face_offsets[b],
                   k * kChunkPixels, std::min(pixels, (k + 1) * kChunkPixels), found);
  };
  const auto scatter = [&](const std::vector<Corner>& found) {
    for (const Corner& corner : found)
      for (int j = 0; j < 3; ++j) add(grad_h, faces[3 * corner.face + j], corner.grad[j]);
  };
  set_zero(threads, grad_h, 3 * vertices * int64_t(sizeof(T)));
  if (meshes >= 2 * threads || threads <= 1) {
    parallel(threads, meshes, [&](int64_t b) {
      thread_local std::vector<Corner> found;
      for (int64_t k = 0; k < chunks; ++k) {
        chunk(b, k, found);
        scatter(found);
      }
    });
    return kDone;
  }
  std::vector<std::vector<Corner>> found(chunks);
  for (int64_t b = 0; b < meshes; ++b) {
    parallel(threads, chunks, [&](int64_t k) { chunk(b, k, found[k]); });
    for (const auto& part : found) scatter(part);
  }
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_RASTERIZE_BACKWARD(NAME, T)                                                   \
  DIFFRENDER_API int64_t diffrender_rasterize_backward_##NAME(                                   \
      const T* h, int64_t vertices, const int64_t* faces, const int64_t* face_offsets,           \
      int64_t meshes, int64_t pixels, int64_t layers, const int64_t* face, const T* bary, const T* depth,        \
      const T* grad_bary, const T* grad_depth, int64_t threads, T* grad_h) {                     \
    return diffrender::guarded([&] {                                                             \
      return diffrender::rasterize_backward(h, vertices, faces, face_offsets, meshes, pixels,    \
                                            layers, face, bary, depth, grad_bary, grad_depth,    \
                                            threads, grad_h);                                    \
    });                                                                                          \
  }

DIFFRENDER_RASTERIZE_BACKWARD(f32, float)
DIFFRENDER_RASTERIZE_BACKWARD(f64, double)
