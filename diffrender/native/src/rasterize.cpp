// Hard visibility of ragged batches of triangles; twin: diffrender/raster/torch_raster.py.
//
// 2D homogeneous rasterization (Olano & Greer 1997). A vertex is h = K (R X + t) = z (x, y, 1).
// With n_0 = h_1 x h_2 (and cyclic) and det = h_0 . n_0, the point of the face's plane seen at
// pixel p = (x, y, 1) has barycentrics b_i = n_i.p / S with S = sum_j n_j.p, and depth z = det / S.
// The pixel is inside when all n_i.p have the sign of det (then z > 0 too), on an edge when that
// edge is a top or left one. Nothing divides by a vertex's z, so a face may cross the camera plane.
// The nearest face has the largest S / det = 1 / z; faces come in order, so a tie keeps the lower.
//
// Backward (either gradient may be null, for zero). With g_i = dL/db_i - sum_j b_j dL/db_j - z dL/dz and A_ji = sum over pixels of b_j g_i:
// dL/dh_j = -sum_i A_ji n_i / det. Pixels of a face add up in scan order, faces in face order,
// so the bits do not depend on the number of threads.

#include <limits>

#include "common.h"

namespace diffrender {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef double Lane __attribute__((vector_size(8 * kLanes)));
typedef int64_t Mask __attribute__((vector_size(8 * kLanes)));

constexpr size_t kKeptScratch = 1 << 21;  // pixels of scratch that a thread may keep

struct Face {
  Vec3 edge[3];       // edge functions, positive inside
  Vec3 inverse;       // 1 / z = inverse . p
  double limit[3];    // inside means edge . p > limit: just under 0 on top and left edges, else 0
  double det;         // positive
  int64_t index;      // within the mesh
  int32_t left, right, top, bottom;  // pixels that may be inside, inclusive
  bool crosses;       // some vertex is not beyond the near plane
};

struct Box {
  double left = 1e300, right = -1e300, top = 1e300, bottom = -1e300;
  void add(double x, double y) {
    left = std::min(left, x);
    right = std::max(right, x);
    top = std::min(top, y);
    bottom = std::max(bottom, y);
  }
};

// First and last pixel whose centre lies within [low, high], widened a little against rounding.
inline void span(double low, double high, int64_t size, int32_t& first, int32_t& last) {
  const double slack = 1e-3;
  first = int32_t(std::ceil(std::min(std::max(low - slack - 0.5, 0.0), double(size))));
  last = int32_t(std::floor(std::min(std::max(high + slack - 0.5, -1.0), double(size - 1))));
}

struct Pixel {
  double x, y;
};

// Edge functions of one face; false when it is degenerate, culled, behind, or outside the rows.
inline bool set_up(const Vec3 h[3], const Pixel pixel[3], bool cull, int64_t height, int64_t width,
                   Face& face) {
  int behind = 0;
  for (int i = 0; i < 3; ++i) behind += !(h[i].z > kNear);
  if (behind == 3) return false;
  Box box;
  for (int i = 0; i < 3; ++i)
    if (h[i].z > kNear) box.add(pixel[i].x, pixel[i].y);
  if (behind) {
    for (int i = 0; i < 3; ++i) {
      const Vec3 &a = h[i], &b = h[(i + 1) % 3];
      if ((a.z > kNear) == (b.z > kNear)) continue;
      const double t = (kNear - a.z) / (b.z - a.z);
      box.add((a.x + t * (b.x - a.x)) / kNear, (a.y + t * (b.y - a.y)) / kNear);
    }
  }
  face.crosses = behind != 0;
  span(box.left, box.right, width, face.left, face.right);
  span(box.top, box.bottom, height, face.top, face.bottom);
  if (face.left > face.right || face.top > face.bottom) return false;

  const Vec3 n[3] = {cross(h[1], h[2]), cross(h[2], h[0]), cross(h[0], h[1])};
  const double det = dot(h[0], n[0]);
  if (!(std::abs(det) > 0.0) || !std::isfinite(det)) return false;
  if (cull && det > 0) return false;  // outward faces seen from outside have det < 0
  const double sign = det < 0 ? -1.0 : 1.0;
  face.det = std::abs(det);
  for (int i = 0; i < 3; ++i) {
    face.edge[i] = n[i] * sign;
    const Vec3& e = face.edge[i];
    const bool top_left = e.x > 0 || (e.x == 0 && e.y > 0);
    face.limit[i] = top_left ? -std::numeric_limits<double>::min() : 0.0;
  }
  face.inverse = (face.edge[0] + face.edge[1] + face.edge[2]) * (1.0 / face.det);
  return true;
}

// One band of rows [row0, row1) of one mesh's image.
template <class T>
struct Band {
  const T* h;
  const int64_t* faces;  // of this mesh, packed vertex indices
  int64_t face_count, face_offset, vertex0, vertex1;
  int64_t height, width, layers, row0, row1;
  bool cull;
  int64_t* out_face;  // of this image
  T* out_bary;
  T* out_depth;

  int64_t run(int64_t& culprit) {
    std::vector<Pixel> pixels(vertex1 - vertex0);
    for (int64_t v = vertex0; v < vertex1; ++v) {
      const Vec3 p = load(h, v);
      if (!std::isfinite(p.x + p.y + p.z)) {
        culprit = v;
        return kNotFinite;
      }
      pixels[v - vertex0] = {p.x / p.z, p.y / p.z};
    }
    const int64_t stride = (width + kLanes) * layers;  // padded: whole lanes may overhang
    // Kept between calls: fresh memory of this size costs more than the drawing.
    thread_local std::vector<double> best;
    thread_local std::vector<int64_t> slot;
    thread_local std::vector<Face> kept;
    best.assign(stride * (row1 - row0), 0.0);
    slot.assign(stride * (row1 - row0), -1);
    kept.clear();
    for (int64_t f = 0; f < face_count; ++f) {
      Vec3 corner[3];
      Pixel pixel[3];
      for (int i = 0; i < 3; ++i) {
        const int64_t v = faces[3 * f + i];
        if (v < vertex0 || v >= vertex1) {
          culprit = face_offset + f;
          return kBadIndex;
        }
        corner[i] = load(h, v);
        pixel[i] = pixels[v - vertex0];
      }
      Face face;
      if (!set_up(corner, pixel, cull, height, width, face)) continue;
      face.top = std::max<int32_t>(face.top, int32_t(row0));
      face.bottom = std::min<int32_t>(face.bottom, int32_t(row1 - 1));
      if (face.top > face.bottom) continue;
      face.index = f;
      const int64_t id = int64_t(kept.size());
      kept.push_back(face);
      if (layers == 1)
        draw_nearest(face, id, best.data(), slot.data(), stride);
      else
        draw_layers(face, id, best.data(), slot.data(), stride);
    }
    resolve(kept, slot, stride);
    if (best.capacity() > kKeptScratch) {
      std::vector<double>().swap(best);
      std::vector<int64_t>().swap(slot);
    }
    return kDone;
  }

  void draw_nearest(const Face& face, int64_t id, double* best, int64_t* slot, int64_t stride) {
    Lane ramp;
    for (int l = 0; l < kLanes; ++l) ramp[l] = l + 0.5;
    const double farthest = face.crosses ? 1.0 / kNear : 1e300;
    for (int32_t y = face.top; y <= face.bottom; ++y) {
      const double py = y + 0.5;
      const double c0 = face.edge[0].y * py + face.edge[0].z;
      const double c1 = face.edge[1].y * py + face.edge[1].z;
      const double c2 = face.edge[2].y * py + face.edge[2].z;
      const double cw = face.inverse.y * py + face.inverse.z;
      double* best_row = best + (y - row0) * stride;
      int64_t* slot_row = slot + (y - row0) * stride;
      for (int32_t x = face.left; x <= face.right; x += kLanes) {
        const Lane px = ramp + double(x);
        const Lane inverse = face.inverse.x * px + cw;
        Lane old;
        std::memcpy(&old, best_row + x, sizeof(Lane));
        const Mask wins = (face.edge[0].x * px + c0 > face.limit[0]) &
                          (face.edge[1].x * px + c1 > face.limit[1]) &
                          (face.edge[2].x * px + c2 > face.limit[2]) & (inverse > old) &
                          (inverse < farthest);
        const Lane now = wins ? inverse : old;
        Mask old_slot;
        std::memcpy(&old_slot, slot_row + x, sizeof(Mask));
        const Mask now_slot = (old_slot & ~wins) | (id & wins);
        std::memcpy(best_row + x, &now, sizeof(Lane));
        std::memcpy(slot_row + x, &now_slot, sizeof(Mask));
      }
    }
  }

  void draw_layers(const Face& face, int64_t id, double* best, int64_t* slot, int64_t stride) {
    const double farthest = face.crosses ? 1.0 / kNear : 1e300;
    for (int32_t y = face.top; y <= face.bottom; ++y) {
      const double py = y + 0.5;
      const double c0 = face.edge[0].y * py + face.edge[0].z;
      const double c1 = face.edge[1].y * py + face.edge[1].z;
      const double c2 = face.edge[2].y * py + face.edge[2].z;
      const double cw = face.inverse.y * py + face.inverse.z;
      for (int32_t x = face.left; x <= face.right; ++x) {
        const double px = x + 0.5;
        if (!(face.edge[0].x * px + c0 > face.limit[0])) continue;
        if (!(face.edge[1].x * px + c1 > face.limit[1])) continue;
        if (!(face.edge[2].x * px + c2 > face.limit[2])) continue;
        const double inverse = face.inverse.x * px + cw;
        double* list = best + (y - row0) * stride + x * layers;
        int64_t* ids = slot + (y - row0) * stride + x * layers;
        if (!(inverse > list[layers - 1]) || !(inverse < farthest)) continue;
        int64_t k = layers - 1;
        for (; k > 0 && inverse > list[k - 1]; --k) {
          list[k] = list[k - 1];
          ids[k] = ids[k - 1];
        }
        list[k] = inverse;
        ids[k] = id;
      }
    }
  }

  void resolve(const std::vector<Face>& kept, const std::vector<int64_t>& slot, int64_t stride) {
    for (int64_t y = row0; y < row1; ++y) {
      const int64_t* slot_row = slot.data() + (y - row0) * stride;
      for (int64_t i = 0; i < width * layers; ++i) {
        const int64_t out = y * width * layers + i;
        if (slot_row[i] < 0) {
          out_face[out] = -1;
          out_depth[out] = T(0);
          for (int j = 0; j < 3; ++j) out_bary[3 * out + j] = T(0);
          continue;
        }
        const Face& face = kept[slot_row[i]];
        const Vec3 p{double(i / layers) + 0.5, double(y) + 0.5, 1.0};
        const double e[3] = {dot(face.edge[0], p), dot(face.edge[1], p), dot(face.edge[2], p)};
        const double scale = 1.0 / (e[0] + e[1] + e[2]);
        out_face[out] = face_offset + face.index;
        out_depth[out] = T(face.det * scale);
        for (int j = 0; j < 3; ++j) out_bary[3 * out + j] = T(e[j] * scale);
      }
    }
  }
};

template <class T>
int64_t rasterize(const T* h, const int64_t* faces, const int64_t* vertex_offsets,
                  const int64_t* face_offsets, int64_t meshes, int64_t height, int64_t width,
                  int64_t layers, int64_t cull, int64_t threads, int64_t* face, T* bary, T* depth,
                  int64_t* culprit) {
  return guarded([&]() -> int64_t {
    const int64_t bands = pieces(threads, meshes, (height + 15) / 16);
    std::vector<int64_t> status(meshes * bands, kDone), where(meshes * bands, 0);
    parallel(threads, meshes * bands, [&](int64_t task) {
      const int64_t b = task / bands, part = task % bands;
      const int64_t image = b * height * width * layers;
      Band<T> band{h,
                   faces + 3 * face_offsets[b],
                   face_offsets[b + 1] - face_offsets[b],
                   face_offsets[b],
                   vertex_offsets[b],
                   vertex_offsets[b + 1],
                   height,
                   width,
                   layers,
                   height * part / bands,
                   height * (part + 1) / bands,
                   cull != 0,
                   face + image,
                   bary + 3 * image,
                   depth + image};
      status[task] = band.run(where[task]);
    });
    for (size_t i = 0; i < status.size(); ++i) {
      if (status[i] == kDone) continue;
      *culprit = where[i];
      return status[i];
    }
    return kDone;
  });
}

// Gradients of the corners of faces [low, high) of one image, nine doubles a face.
template <class T>
void backward_faces(const T* h, const int64_t* faces, const int64_t* face, const T* bary,
                    const T* depth, const T* grad_bary, const T* grad_depth, int64_t count,
                    int64_t low, int64_t high, double* sums, char* touched) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t f = face[i];
    if (f < low || f >= high) continue;
    const T* b = bary + 3 * i;
    double g[3] = {0, 0, 0};
    if (grad_bary)
      for (int c = 0; c < 3; ++c) g[c] = grad_bary[3 * i + c];
    const double mean = b[0] * g[0] + b[1] * g[1] + b[2] * g[2];
    const double shift = mean + (grad_depth ? double(depth[i]) * grad_depth[i] : 0.0);
    if (shift == 0 && g[0] == 0 && g[1] == 0 && g[2] == 0) continue;
    double* a = sums + 9 * (f - low);
    touched[f - low] = 1;
    for (int c = 0; c < 3; ++c)
      for (int j = 0; j < 3; ++j) a[3 * j + c] += double(b[j]) * (g[c] - shift);
  }
  for (int64_t f = low; f < high; ++f) {
    if (!touched[f - low]) continue;
    const int64_t* v = faces + 3 * f;
    const Vec3 corner[3] = {load(h, v[0]), load(h, v[1]), load(h, v[2])};
    const Vec3 n[3] = {cross(corner[1], corner[2]), cross(corner[2], corner[0]),
                       cross(corner[0], corner[1])};
    const double scale = -1.0 / dot(corner[0], n[0]);
    double* a = sums + 9 * (f - low);
    for (int j = 0; j < 3; ++j) {
      const Vec3 g = (n[0] * a[3 * j] + n[1] * a[3 * j + 1] + n[2] * a[3 * j + 2]) * scale;
      a[3 * j] = g.x;
      a[3 * j + 1] = g.y;
      a[3 * j + 2] = g.z;
    }
  }
}

template <class T>
int64_t rasterize_backward(const T* h, const int64_t* faces, const int64_t* face_offsets,
                           int64_t meshes, int64_t height, int64_t width, int64_t layers,
                           const int64_t* face, const T* bary, const T* depth, const T* grad_bary,
                           const T* grad_depth, int64_t threads, T* grad_h) {
  return guarded([&]() -> int64_t {
    const int64_t count = height * width * layers;
    const int64_t parts = pieces(threads, meshes, 64);
    // Adds the corners of one mesh to its vertices in face order.
    const auto scatter = [&](int64_t low, int64_t high, const double* sums, const char* touched) {
      for (int64_t f = low; f < high; ++f) {
        if (!touched[f - low]) continue;
        const double* a = sums + 9 * (f - low);
        for (int j = 0; j < 3; ++j)
          add(grad_h, faces[3 * f + j], {a[3 * j], a[3 * j + 1], a[3 * j + 2]});
      }
    };
    const auto accumulate = [&](int64_t b, int64_t low, int64_t high, double* sums, char* touched) {
      const int64_t i = b * count;
      backward_faces(h, faces, face + i, bary + 3 * i, depth + i,
                     grad_bary ? grad_bary + 3 * i : nullptr,
                     grad_depth ? grad_depth + i : nullptr, count, low, high, sums, touched);
    };
    if (parts == 1) {
      parallel(threads, meshes, [&](int64_t b) {
        const int64_t low = face_offsets[b], high = face_offsets[b + 1];
        std::vector<double> sums(9 * (high - low), 0.0);
        std::vector<char> touched(high - low, 0);
        accumulate(b, low, high, sums.data(), touched.data());
        scatter(low, high, sums.data(), touched.data());
      });
      return kDone;
    }
    const int64_t total = face_offsets[meshes];
    std::vector<double> sums(9 * total, 0.0);
    std::vector<char> touched(total, 0);
    parallel(threads, meshes * parts, [&](int64_t task) {
      const int64_t b = task / parts, part = task % parts;
      const int64_t first = face_offsets[b], size = face_offsets[b + 1] - first;
      const int64_t low = first + size * part / parts, high = first + size * (part + 1) / parts;
      accumulate(b, low, high, sums.data() + 9 * low, touched.data() + low);
    });
    parallel(threads, meshes, [&](int64_t b) {
      const int64_t low = face_offsets[b];
      scatter(low, face_offsets[b + 1], sums.data() + 9 * low, touched.data() + low);
    });
    return kDone;
  });
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_RASTERIZE(NAME, T)                                                            \
  DIFFRENDER_API int64_t diffrender_rasterize_##NAME(                                            \
      const T* h, const int64_t* faces, const int64_t* vertex_offsets,                           \
      const int64_t* face_offsets, int64_t meshes, int64_t height, int64_t width,                \
      int64_t layers, int64_t cull, int64_t threads, int64_t* face, T* bary, T* depth,           \
      int64_t* culprit) {                                                                        \
    return diffrender::rasterize(h, faces, vertex_offsets, face_offsets, meshes, height, width,  \
                                 layers, cull, threads, face, bary, depth, culprit);             \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_rasterize_backward_##NAME(                                   \
      const T* h, const int64_t* faces, const int64_t* face_offsets, int64_t meshes,             \
      int64_t height, int64_t width, int64_t layers, const int64_t* face, const T* bary,         \
      const T* depth, const T* grad_bary, const T* grad_depth, int64_t threads, T* grad_h) {     \
    return diffrender::rasterize_backward(h, faces, face_offsets, meshes, height, width, layers, \
                                          face, bary, depth, grad_bary, grad_depth, threads,     \
                                          grad_h);                                               \
  }

DIFFRENDER_RASTERIZE(f32, float)
DIFFRENDER_RASTERIZE(f64, double)
