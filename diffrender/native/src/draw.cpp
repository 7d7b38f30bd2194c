// Attributes at pixels, antialiased, in one pass: what rasterize.cpp, interpolate.cpp and
// antialias.cpp do in turn, up to rounding; twin: diffrender/raster/render.py (the three calls).
//
// Barycentrics are never written: along a row an attribute is a quotient of two linear functions of
// x (drawn.h). So an image costs its own bytes and 4 more a pixel for the face shown, instead of 24
// for face, barycentrics and depth.
// The depth of a face that an outline passes in front of is worked out again from the face.
// Crossings are kept for draw_backward.cpp, which says how they are packed.

#include <memory>

#include "visibility.h"
#include "crossings.h"
#include "drawn.h"

namespace diffrender {
namespace {

constexpr int64_t kSpareBytes = 1 << 20;

// One image's rows: the number of the face that each pixel shows, and its attributes.
template <class T>
struct Paint {
  const Image& image;
  const Attributes<T>& attributes;
  int64_t face0;
  int32_t* shown;  // (H, W)
  T* out;          // (H, W, channels)

  double* planes = nullptr;  // of the faces of one band, those that were met
  char* met = nullptr;

  int64_t channels() const { return attributes.channels; }
  int64_t numbers_each() const { return 3 * channels() + 3; }

  void open(const std::vector<Face>& kept) {
    thread_local std::vector<double> numbers;  // kept between calls
    thread_local std::vector<char> flags;
    const size_t count = kept.size() * size_t(numbers_each());
    if (numbers.size() < count) numbers.resize(count);
    flags.assign(kept.size(), 0);
    planes = numbers.data();
    met = flags.data();
  }

  const double* planes_of_face(const Face& face, int64_t id) const {
    double* to = planes + id * numbers_each();
    if (!met[id]) {
      met[id] = 1;
      const T* v[3];
      attributes.corners_of(face.index, v);
      planes_of(face.edge, v, channels(), to);
    }
    return to;
  }

  void row(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    switch (channels()) {  // the loops over channels are unrolled for one to four of them
      case 1: return row_of<1>(kept, slot, y);
      case 2: return row_of<2>(kept, slot, y);
      case 3: return row_of<3>(kept, slot, y);
      case 4: return row_of<4>(kept, slot, y);
      default: return row_of<0>(kept, slot, y);
    }
  }

  template <int C>
  void row_of(const std::vector<Face>& kept, const int64_t* slot, int64_t y) {
    const int64_t width = image.width;
    int32_t* shown_row = shown + y * width;
    T* out_row = out + y * width * channels();
    for (int64_t x = 0, end; x < width; x = end) {
      const int64_t id = slot[x];
      for (end = x + 1; end < width && slot[end] == id;) ++end;
      if (id < 0) {
        std::fill_n(shown_row + x, end - x, -1);
        std::fill_n(out_row + x * channels(), (end - x) * channels(), T(0));
        continue;
      }
      std::fill_n(shown_row + x, end - x, int32_t(kept[id].index - face0));
      run<C>(planes_of_face(kept[id], id), x, end, double(y) + 0.5, out_row);
    }
  }

  // Whole lanes may overhang the run, not the row: the next run writes over what is not its own.
  template <int C>
  void run(const double* n, int64_t x, int64_t end, double py, T* out_row) const {
    typedef T Narrow __attribute__((vector_size(kLanes * sizeof(T))));
    const int64_t channels = C ? C : attributes.channels;
    constexpr int kKnown = C ? C : 1;
    Lane ramp;
    for (int l = 0; l < kLanes; ++l) ramp[l] = l + 0.5;
    const double below = n[1] * py + n[2];
    double above[kKnown];
    for (int c = 0; C && c < kKnown; ++c) above[c] = n[3 * c + 4] * py + n[3 * c + 5];
    for (; x < end && x + kLanes <= image.width; x += kLanes) {
      const Lane px = ramp + double(x);
      const Lane scale = 1.0 / (n[0] * px + below);
      T* to = out_row + x * channels;
      if (C) {
        Narrow value[kKnown];
        for (int c = 0; c < kKnown; ++c)
          value[c] = __builtin_convertvector((n[3 * c + 3] * px + above[c]) * scale, Narrow);
        if (C == 1)
          std::memcpy(to, value, sizeof value[0]);
        else if (C == 3)
          interleave(to, value[0], value[1], value[C == 3 ? 2 : 0]);
        else
          for (int l = 0; l < kLanes; ++l)
            for (int c = 0; c < kKnown; ++c) to[l * kKnown + c] = value[c][l];
      } else {
        for (int64_t c = 0; c < channels; ++c) {
          const Lane value = (n[3 * c + 3] * px + (n[3 * c + 4] * py + n[3 * c + 5])) * scale;
          for (int l = 0; l < kLanes; ++l) to[l * channels + c] = T(value[l]);
        }
      }
    }
    for (; x < end; ++x) {
      const double px = double(x) + 0.5, scale = 1.0 / (n[0] * px + below);
      for (int64_t c = 0; c < channels; ++c)
        out_row[x * channels + c] =
            T((n[3 * c + 3] * px + (n[3 * c + 4] * py + n[3 * c + 5])) * scale);
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
    if (!set_up(corner, image.cull, face)) return false;  // it was drawn, so it can be set up
    const Vec3 p{double(pixel % image.width) + 0.5, double(pixel / image.width) + 0.5, 1.0};
    const double s[3] = {dot(face.edge[0], p), dot(face.edge[1], p), dot(face.edge[2], p)};
    const T depth = T(face.det * (1.0 / (s[0] + s[1] + s[2])));
    return inverse * double(depth) > 1.0;
  }
};

template <class T>
struct Drawn : Kept {
  std::vector<Crossings<T>> images;
  int64_t channels;

  // The last small one that this thread let go of: new memory costs as much as hundreds of pixels.
  static std::unique_ptr<Drawn>& spare() {
    thread_local std::unique_ptr<Drawn> one;
    return one;
  }
  bool small() const {  // its crossings count, too, where the call brought room for the rest
    return sizes[0] + sizes[1] + sizes[kCrossings] + bytes() <= kSpareBytes;
  }

  int64_t bytes() const {
    int64_t total = 2 * int64_t(sizeof(int64_t) * images.size());
    for (const auto& image : images)
      for (const auto& list : image.list) total += part_bytes<T>(list.size(), channels);
    return total;
  }

  void pack(char* to) const {
    int64_t* counts = reinterpret_cast<int64_t*>(to);
    to += 2 * sizeof(int64_t) * images.size();
    for (const auto& image : images)
      for (int i = 0; i < 2; ++i) {
        const auto& list = image.list[i];
        *counts++ = int64_t(list.size());
        Record* record = reinterpret_cast<Record*>(to);
        for (const Blend& k : list)
          *record++ = {k.in, k.out, k.a, k.b, k.along, k.slope, k.sign, k.alpha};
        std::copy(image.difference[i].begin(), image.difference[i].end(), reinterpret_cast<T*>(record));
        to += part_bytes<T>(list.size(), channels);
      }
  }
};

template <class T>
int64_t draw_with(const Packed<T>& packed, const Image& image, const Tables& tables,
                  const Attributes<T>& attributes, int64_t threads, int32_t* shown, T* out,
                  Drawn<T>& drawn, int64_t* culprit) {
  const int64_t pixels = image.height * image.width, channels = attributes.channels;
  return draw_all(
      packed, image, threads, culprit,
      [&](int64_t b) {
        return Paint<T>{image, attributes, packed.face_offsets[b], shown + b * pixels,
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

// The crossings stay in `call.kept` until they are taken; so does what `call` brings no room for.
template <class T>
int64_t draw(DrawCall<T>& call, int64_t threads, T* out) {
  threads = call.useful(threads);
  call_workers(threads);
  auto drawn = std::move(Drawn<T>::spare());
  if (!drawn) drawn = std::make_unique<Drawn<T>>();
  const bool own = !call.shown;
  if (own) {
    call.shown = drawn->template room<int32_t>(0, call.meshes * call.height * call.width);
    if (call.intrinsics)
      call.h = drawn->template room<T>(1, 3 * call.vertex_offsets[call.meshes]);
  }
  if (call.intrinsics)
    project(call.points, call.vertex_offsets, call.meshes, call.cameras(), threads, call.h);
  const Packed<T> packed{call.homogeneous(), call.faces, call.vertex_offsets, call.face_offsets,
                         call.meshes};
  const Image image(call.height, call.width, 1, call.cull != 0);
  const int64_t pixels = call.meshes * call.height * call.width;
  large_pages(out, pixels * call.channels * int64_t(sizeof(T)));
  large_pages(call.shown, pixels * int64_t(sizeof(int32_t)));
  const Tables tables{call.topology, call.edge_offsets, call.edges, call.opposite_offsets,
                      call.opposite};
  drawn->images.resize(call.meshes);
  drawn->channels = call.channels;
  const int64_t status = draw_with(packed, image, tables, call.attributes(), threads, call.shown,
                                   out, *drawn, &call.culprit);
  if (status != kDone) return status;
  call.bytes = drawn->bytes();
  if (own) {
    drawn->pack(drawn->template room<char>(Kept::kCrossings, call.bytes));
    if (!drawn->small()) drawn->images = {};
  }
  call.kept = drawn.release();
  return kDone;
}

// Packs the crossings into `to`, unless that is null, and lets go of all that was kept.
template <class T>
int64_t take(Kept* kept, char* to) {
  std::unique_ptr<Drawn<T>> owner(static_cast<Drawn<T>*>(kept));
  if (to) owner->pack(to);
  if (owner->small()) Drawn<T>::spare() = std::move(owner);
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_DRAW(NAME, T)                                                                 \
  DIFFRENDER_API int64_t diffrender_draw_##NAME(void* call, int64_t threads, T* out) {           \
    return diffrender::guarded([&] {                                                             \
      return diffrender::draw(*static_cast<diffrender::DrawCall<T>*>(call), threads, out);       \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_draw_take_##NAME(void* kept, void* to) {                     \
    return diffrender::guarded([&] {                                                             \
      return diffrender::take<T>(static_cast<diffrender::Kept*>(kept), static_cast<char*>(to));  \
    });                                                                                          \
  }

DIFFRENDER_DRAW(f32, float)
DIFFRENDER_DRAW(f64, double)
