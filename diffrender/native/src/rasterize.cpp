// Hard visibility of ragged batches of triangles; twin: diffrender/raster/torch_raster.py.
//
// 2D homogeneous rasterization (Olano & Greer 1997). A vertex is h = K (R X + t) = z (x, y, 1).
// With n_0 = h_1 x h_2 (and cyclic) and det = h_0 . n_0, the point of the face's plane seen at
// pixel p = (x, y, 1) has barycentrics b_i = n_i.p / S with S = sum_j n_j.p, and depth z = det / S.
// The pixel is inside when all n_i.p have the sign of det (then z > 0 too), on an edge when that
// edge is a top or left one. Nothing divides by a vertex's z, so a face may cross the camera plane.
// The nearest face has the largest S / det = 1 / z; faces come in order, so a tie keeps the lower.
//
// How an image is cut into bands and threads: scene.h, visibility.h.

#include "visibility.h"

namespace diffrender {
namespace {

// Writes the maps of one image, (H, W, K).
template <class T>
struct Maps {
  const Image& image;
  int64_t* out_face;
  T* out_bary;
  T* out_depth;

  void open(const std::vector<Face>&) {}

  void row(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    if (image.layers == 1)
      resolve_nearest(kept, slot, y);
    else
      resolve_layers(kept, slot, y);
  }

  void write(const Face& face, double px, double py, int64_t out) {
    const Vec3 p{px, py, 1.0};
    const double e[3] = {dot(face.edge[0], p), dot(face.edge[1], p), dot(face.edge[2], p)};
    const double scale = 1.0 / (e[0] + e[1] + e[2]);
    out_face[out] = face.index;
    out_depth[out] = T(face.det * scale);
    for (int j = 0; j < 3; ++j) out_bary[3 * out + j] = T(e[j] * scale);
  }

  void clear(int64_t out, int64_t count) {
    std::fill_n(out_face + out, count, int64_t(-1));
    std::memset(out_depth + out, 0, count * sizeof(T));
    std::memset(out_bary + 3 * out, 0, 3 * count * sizeof(T));
  }

  // Pixels in runs that show the same face: its edge functions stay in registers.
  void resolve_nearest(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    Lane ramp;
    for (int l = 0; l < kLanes; ++l) ramp[l] = l + 0.5;
    const double py = double(y) + 0.5;
    const int64_t width = image.width, row = y * width;
    for (int64_t x = 0, end; x < width; x = end) {
      const int64_t id = slot[x];
      for (end = x + 1; end < width && slot[end] == id;) ++end;
      if (id < 0) {
        clear(row + x, end - x);
        continue;
      }
      const Face& face = kept[id];
      const Vec3 *e = face.edge;
      for (; x + kLanes <= end; x += kLanes) {
        const Lane px = ramp + double(x);
        const Lane a = e[0].x * px + e[0].y * py + e[0].z;
        const Lane b = e[1].x * px + e[1].y * py + e[1].z;
        const Lane c = e[2].x * px + e[2].y * py + e[2].z;
        const Lane scale = 1.0 / (a + b + c);
        const Lane wa = a * scale, wb = b * scale, wc = c * scale, z = face.det * scale;
        for (int l = 0; l < kLanes; ++l) out_face[row + x + l] = face.index;
        store(out_depth + row + x, z);
        store_triples(out_bary + 3 * (row + x), wa, wb, wc);
      }
      for (; x < end; ++x) write(face, double(x) + 0.5, py, row + x);
    }
  }

  void resolve_layers(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    const int64_t count = image.width * image.layers, row = y * count;
    for (int64_t i = 0; i < count; ++i) {
      if (slot[i] < 0)
        clear(row + i, 1);
      else
        write(kept[slot[i]], double(i / image.layers) + 0.5, double(y) + 0.5, row + i);
    }
  }
};

template <class T>
int64_t rasterize(const Packed<T>& packed, const Image& image, int64_t threads, int64_t* face,
                  T* bary, T* depth, int64_t* culprit) {
  const int64_t size = image.height * image.width * image.layers;
  const int64_t entries = packed.meshes * size;
  large_pages(face, entries * int64_t(sizeof(int64_t)));
  large_pages(bary, 3 * entries * int64_t(sizeof(T)));
  large_pages(depth, entries * int64_t(sizeof(T)));
  return draw_all(
      packed, image, threads, culprit,
      [&](int64_t b) {
        return Maps<T>{image, face + b * size, bary + 3 * b * size, depth + b * size};
      },
      [](const Scene<T>&, int64_t) -> int64_t { return kDone; });
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_RASTERIZE(NAME, T)                                                           \
  DIFFRENDER_API int64_t diffrender_rasterize_##NAME(                                           \
      const T* h, const int64_t* faces, const int64_t* vertex_offsets,                          \
      const int64_t* face_offsets, int64_t meshes, int64_t height, int64_t width,               \
      int64_t layers, int64_t cull, int64_t threads, int64_t* face, T* bary, T* depth,          \
      int64_t* culprit) {                                                                       \
    return diffrender::guarded([&] {                                                            \
      return diffrender::rasterize<T>({h, faces, vertex_offsets, face_offsets, meshes},         \
                                      {height, width, layers, cull != 0}, threads, face, bary,   \
                                      depth, culprit);                                           \
    });                                                                                         \
  }

DIFFRENDER_RASTERIZE(f32, float)
DIFFRENDER_RASTERIZE(f64, double)
