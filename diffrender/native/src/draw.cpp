// Attributes at pixels, antialiased, in one pass: what rasterize.cpp, interpolate.cpp and
// antialias.cpp do in turn, to the bit; twin: diffrender/raster/render.py (the three calls).
//
// A row's barycentrics live in registers between visibility and blending, so an image costs its
// own bytes and 4 more a pixel for the face shown, instead of 24 for face, barycentrics and depth.
// The depth of a face that an outline passes in front of is worked out again from the face.
// Crossings are kept for draw_backward.cpp, which says how they are packed.

#include <memory>

#include "bands.h"
#include "crossings.h"
#include "drawn.h"

namespace diffrender {
namespace {

// One image's rows: the number of the face that each pixel shows, and its blended attributes.
template <class T, int C>
struct Paint {
  const Image& image;
  const Attributes<T>& attributes;
  int64_t face0;
  int32_t* shown;  // (H, W)
  T* out;          // (H, W, channels)

  void row(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    const int64_t width = image.width, channels = C ? C : attributes.channels;
    int32_t* shown_row = shown + y * width;
    T* out_row = out + y * width * channels;
    for (int64_t x = 0, end; x < width; x = end) {
      const int64_t id = slot[x];
      for (end = x + 1; end < width && slot[end] == id;) ++end;
      if (id < 0) {
        std::fill_n(shown_row + x, end - x, -1);
        std::memset(out_row + x * channels, 0, (end - x) * channels * sizeof(T));
        continue;
      }
      std::fill_n(shown_row + x, end - x, int32_t(kept[id].index - face0));
      run(kept[id], x, end, double(y) + 0.5, out_row);
    }
  }

  // Whole lanes may overhang the run, not the row: the next run writes over what is not its own.
  void run(const Face& face, int64_t x, int64_t end, double py, T* out_row) const {
    typedef T Narrow __attribute__((vector_size(kLanes * sizeof(T))));
    const int64_t channels = C ? C : attributes.channels;
    const T* v[3];
    attributes.corners_of(face.index, v);
    Lane ramp;
    for (int l = 0; l < kLanes; ++l) ramp[l] = l + 0.5;
    const Vec3* e = face.edge;
    for (; x < end && x + kLanes <= image.width; x += kLanes) {
      const Lane px = ramp + double(x);
      const Lane a = e[0].x * px + e[0].y * py + e[0].z;
      const Lane b = e[1].x * px + e[1].y * py + e[1].z;
      const Lane c = e[2].x * px + e[2].y * py + e[2].z;
      const Lane scale = 1.0 / (a + b + c);
      const Narrow wa = __builtin_convertvector(a * scale, Narrow);
      const Narrow wb = __builtin_convertvector(b * scale, Narrow);
      const Narrow wc = __builtin_convertvector(c * scale, Narrow);
      T* to = out_row + x * channels;
      if (C == 1) {
        const Narrow mixed = wa * v[0][0] + wb * v[1][0] + wc * v[2][0];
        std::memcpy(to, &mixed, sizeof mixed);
      } else if (C == 3) {
        Narrow mixed[3];
        for (int k = 0; k < 3; ++k) mixed[k] = wa * v[0][k] + wb * v[1][k] + wc * v[2][k];
        interleave(to, mixed[0], mixed[1], mixed[2]);
      } else {
        for (int64_t k = 0; k < channels; ++k) {
          const Narrow mixed = wa * v[0][k] + wb * v[1][k] + wc * v[2][k];
          for (int l = 0; l < kLanes; ++l) to[l * channels + k] = mixed[l];
        }
      }
    }
    for (; x < end; ++x) {
      const Vec3 p{double(x) + 0.5, py, 1.0};
      const double s[3] = {dot(e[0], p), dot(e[1], p), dot(e[2], p)};
      const double scale = 1.0 / (s[0] + s[1] + s[2]);
      const T w[3] = {T(s[0] * scale), T(s[1] * scale), T(s[2] * scale)};
      for (int64_t k = 0; k < channels; ++k)
        out_row[x * channels + k] = w[0] * v[0][k] + w[1] * v[1][k] + w[2] * v[2][k];
    }
  }
};

// What an image shows, for its crossings.
template <class T>
struct Shown {
  const Scene<T>& scene;
  const Image& image;
  const int32_t* shown;

  int64_t face(int64_t pixel) const { return shown[pixel]; }
  bool nearer(double inverse, int64_t pixel) const {
    const int64_t* v = scene.faces + 3 * (scene.face0 + shown[pixel]);
    const Vec3 corner[3] = {load(scene.h, v[0]), load(scene.h, v[1]), load(scene.h, v[2])};
    Face face;
    set_up(corner, image.cull, face);
    const Vec3 p{double(pixel % image.width) + 0.5, double(pixel / image.width) + 0.5, 1.0};
    const double s[3] = {dot(face.edge[0], p), dot(face.edge[1], p), dot(face.edge[2], p)};
    const T depth = T(face.det * (1.0 / (s[0] + s[1] + s[2])));
    return inverse * double(depth) > 1.0;
  }
};

template <class T>
struct Drawn {
  std::vector<Crossings<T>> images;
  int64_t channels;

  int64_t bytes() const {
    int64_t total = 2 * int64_t(sizeof(int64_t) * images.size());
    for (const auto& image : images)
      for (const auto& list : image.list) total += part_bytes<T>(list.size(), channels);
    return total;
  }
};

template <class T, int C>
int64_t draw_with(const Packed<T>& packed, const Image& image, const Tables& tables,
                  const Attributes<T>& attributes, int64_t threads, int32_t* shown, T* out,
                  Drawn<T>& drawn, int64_t* culprit) {
  const int64_t pixels = image.height * image.width, channels = attributes.channels;
  return draw_all(
      packed, image, threads, culprit,
      [&](int64_t b) {
        return Paint<T, C>{image, attributes, packed.face_offsets[b], shown + b * pixels,
                           out + b * pixels * channels};
      },
      [&](const Scene<T>& scene, int64_t inner) {
        const int64_t b = scene.mesh;
        const Shown<T> maps{scene, image, shown + b * pixels};
        const Outlines<T, Shown<T>> outlines{packed.h,    scene.vertex0, scene.vertex1,
                                             image.height, image.width,  maps,
                                             scene.pixels.data()};
        return antialias_image(outlines, tables.of(b), channels, inner, drawn.images[b],
                               out + b * pixels * channels);
      });
}

// The crossings stay in `*kept` until they are taken; `*bytes` is the room that they need.
template <class T>
int64_t draw(const Packed<T>& packed, const Image& image, const Tables& tables,
             const Attributes<T>& attributes, int64_t threads, int32_t* shown, T* out,
             int64_t* bytes, Drawn<T>** kept, int64_t* culprit) {
  auto drawn = std::make_unique<Drawn<T>>();
  drawn->images.resize(packed.meshes);
  drawn->channels = attributes.channels;
  const auto run = attributes.channels == 1   ? draw_with<T, 1>
                   : attributes.channels == 2 ? draw_with<T, 2>
                   : attributes.channels == 3 ? draw_with<T, 3>
                                              : draw_with<T, 0>;
  const int64_t status =
      run(packed, image, tables, attributes, threads, shown, out, *drawn, culprit);
  if (status != kDone) return status;
  *bytes = drawn->bytes();
  *kept = drawn.release();
  return kDone;
}

// Packs the crossings into `to`, or only lets them go where it is null.
template <class T>
int64_t take(Drawn<T>* drawn, char* to) {
  const std::unique_ptr<Drawn<T>> owner(drawn);
  if (!to) return kDone;
  int64_t* counts = reinterpret_cast<int64_t*>(to);
  to += 2 * sizeof(int64_t) * drawn->images.size();
  for (const auto& image : drawn->images)
    for (int i = 0; i < 2; ++i) {
      const auto& list = image.list[i];
      *counts++ = int64_t(list.size());
      Record* record = reinterpret_cast<Record*>(to);
      for (const Blend& k : list)
        *record++ = {k.in, k.out, k.a, k.b, k.along, k.slope, k.sign, k.alpha};
      std::memcpy(record, image.difference[i].data(), image.difference[i].size() * sizeof(T));
      to += part_bytes<T>(list.size(), drawn->channels);
    }
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_DRAW(NAME, T)                                                                 \
  DIFFRENDER_API int64_t diffrender_draw_##NAME(                                                 \
      const T* h, const int64_t* faces, const int64_t* vertex_offsets,                           \
      const int64_t* face_offsets, int64_t meshes, int64_t height, int64_t width, int64_t cull,  \
      const int64_t* topology, const int64_t* edge_offsets, const int32_t* edges,                \
      const int32_t* opposite_offsets, const int32_t* opposite, const T* values,                 \
      int64_t corners, int64_t channels, int64_t threads, int32_t* shown, T* out,                \
      int64_t* bytes, void** kept, int64_t* culprit) {                                           \
    return diffrender::guarded([&] {                                                             \
      return diffrender::draw<T>({h, faces, vertex_offsets, face_offsets, meshes},               \
                                 {height, width, 1, cull != 0},                                  \
                                 {topology, edge_offsets, edges, opposite_offsets, opposite},    \
                                 {values, corners ? nullptr : faces, channels}, threads, shown,  \
                                 out, bytes, reinterpret_cast<diffrender::Drawn<T>**>(kept),     \
                                 culprit);                                                       \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_draw_take_##NAME(void* kept, void* to) {                     \
    return diffrender::guarded([&] {                                                             \
      return diffrender::take(static_cast<diffrender::Drawn<T>*>(kept), static_cast<char*>(to)); \
    });                                                                                          \
  }

DIFFRENDER_DRAW(f32, float)
DIFFRENDER_DRAW(f64, double)
