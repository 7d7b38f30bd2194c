// Which detection belongs to which ground truth, by the rules of the KITTI object devkit
// (cpp/evaluate_object.cpp, computeStatistics); twin: diffrender/evaluate/matching_python.py.
//
// Per frame, in file order: a truth takes one free detection that overlaps it by more than the
// minimum. Recall pass: the one with the highest score. Counting pass, at a threshold: the one
// with the largest overlap among those that count; an ignored one only where nothing else fits. A
// truth that is neutral, or takes an ignored detection, makes neither a hit nor a miss. False
// positives are the free counted detections that lie in no DontCare region.
//
// Thresholds fall, so detections only become active: a frame is matched anew only where one that
// overlaps something did, and the false positives start from a count of active detections.
// Frames are added up in chunks of fixed size, then chunk by chunk: the bits do not depend on
// threads.

#include <limits>

#include "common.h"

namespace diffrender {
namespace {

constexpr int64_t kFramesAChunk = 64;
constexpr double kNothing = -std::numeric_limits<double>::infinity();

enum : int8_t { kOther = -1, kCounts = 0, kNeutral = 1, kOutside = 2, kDontCare = 3 };
enum : int8_t { kUnseen = 0, kHit = 1, kAbsorbed = 2, kFalse = 3 };

struct Case {
  const int64_t *truth_starts, *found_starts, *pair_starts;  // (frames + 1)
  const int64_t *pair_truth, *pair_found;                    // (pairs) sorted by both
  const double* overlap;                                     // (pairs)
  const int8_t *truth_status, *found_status;
  const double* score;
  double minimum;

  bool fits(int64_t pair) const {
    return overlap[pair] > minimum && found_status[pair_found[pair]] != kOther &&
           truth_status[pair_truth[pair]] != kOther;
  }
};

// A frame's pairs that may match: ordinary ones by truth, then DontCare ones.
struct Frame {
  std::vector<int64_t> pairs, regions;
  std::vector<double> scores;  // of the detections in those pairs, falling
  std::vector<uint8_t> taken;  // by detection of the frame

  void gather(const Case& c, int64_t frame) {
    pairs.clear(), regions.clear(), scores.clear();
    for (int64_t p = c.pair_starts[frame]; p < c.pair_starts[frame + 1]; ++p) {
      if (!c.fits(p)) continue;
      (c.truth_status[c.pair_truth[p]] == kDontCare ? regions : pairs).push_back(p);
      scores.push_back(c.score[c.pair_found[p]]);
    }
    std::sort(scores.begin(), scores.end(), std::greater<double>());
    taken.assign(size_t(c.found_starts[frame + 1] - c.found_starts[frame]), 0);
  }
};

struct Tally {
  int64_t hits = 0, spared = 0, withheld = 0;  // withheld: truths that took an ignored detection
  double similarity = 0;
};

// Counting pass of one frame; `taken` by detection of the frame, `match` and `fate` may be null.
Tally match_frame(const Case& c, int64_t frame, Frame& f, double threshold,
                  const double* truth_alpha, const double* found_alpha, int64_t* match,
                  int8_t* fate) {
  Tally tally;
  const int64_t first = c.found_starts[frame];
  std::fill(f.taken.begin(), f.taken.end(), uint8_t(0));
  for (size_t i = 0; i < f.pairs.size();) {
    const int64_t truth = c.pair_truth[f.pairs[i]];
    int64_t chosen = -1;
    bool ignored = false;
    double largest = 0;
    for (; i < f.pairs.size() && c.pair_truth[f.pairs[i]] == truth; ++i) {
      const int64_t found = c.pair_found[f.pairs[i]];
      if (f.taken[size_t(found - first)] || c.score[found] < threshold) continue;
      const double overlap = c.overlap[f.pairs[i]];
      if (c.found_status[found] != kNeutral) {
        if (overlap > largest || ignored) largest = overlap, chosen = found, ignored = false;
      } else if (chosen < 0) {
        chosen = found, ignored = true;
      }
    }
    if (chosen < 0) continue;
    f.taken[size_t(chosen - first)] = 1;
    const bool counted = c.found_status[chosen] == kCounts;
    if (c.truth_status[truth] == kNeutral || ignored) {
      tally.withheld += c.truth_status[truth] == kCounts;
      tally.spared += counted;
      if (fate != nullptr) fate[chosen] = kAbsorbed;
      continue;
    }
    ++tally.hits;
    tally.spared += counted;
    tally.similarity += (1 + std::cos(truth_alpha[truth] - found_alpha[chosen])) / 2;
    if (match != nullptr) match[truth] = chosen;
    if (fate != nullptr) fate[chosen] = kHit;
  }
  for (const int64_t pair : f.regions) {
    const int64_t found = c.pair_found[pair];
    if (f.taken[size_t(found - first)] || c.score[found] < threshold) continue;
    if (c.found_status[found] != kCounts) continue;
    f.taken[size_t(found - first)] = 1;
    ++tally.spared;
    if (fate != nullptr) fate[found] = kAbsorbed;
  }
  return tally;
}

template <class Task>
void each_chunk(int64_t frames, int64_t threads, Task&& task) {
  parallel(threads, (frames + kFramesAChunk - 1) / kFramesAChunk, [&](int64_t chunk) {
    task(chunk, chunk * kFramesAChunk, std::min(frames, (chunk + 1) * kFramesAChunk));
  });
}

void recall_frame(const Case& c, int64_t frame, Frame& f, double* best) {
  const int64_t first = c.found_starts[frame];
  for (size_t i = 0; i < f.pairs.size();) {
    const int64_t truth = c.pair_truth[f.pairs[i]];
    int64_t chosen = -1;
    double highest = kNothing;
    for (; i < f.pairs.size() && c.pair_truth[f.pairs[i]] == truth; ++i) {
      const int64_t found = c.pair_found[f.pairs[i]];
      if (f.taken[size_t(found - first)] || !(c.score[found] > highest)) continue;
      chosen = found, highest = c.score[found];
    }
    if (chosen < 0) continue;
    f.taken[size_t(chosen - first)] = 1;
    if (c.truth_status[truth] == kCounts && c.found_status[chosen] != kNeutral)
      best[truth] = highest;
  }
}

struct Sums {
  std::vector<int64_t> hits, spared, withheld, active;
  std::vector<double> similarity;
  explicit Sums(int64_t n)
      : hits(size_t(n)), spared(size_t(n)), withheld(size_t(n)), active(size_t(n)),
        similarity(size_t(n)) {}
};

}  // namespace
}  // namespace diffrender

// Recall pass: the score of the detection that each counted truth takes, into `best` (truths),
// which comes filled with NaN.
DIFFRENDER_API int64_t diffrender_kitti_best_scores(
    const int64_t* truth_starts, const int64_t* found_starts, const int64_t* pair_starts,
    int64_t frames, const int64_t* pair_truth, const int64_t* pair_found, const double* overlap,
    const int8_t* truth_status, const int8_t* found_status, const double* score, double minimum,
    int64_t threads, double* best) {
  using namespace diffrender;
  const Case c{truth_starts, found_starts, pair_starts,  pair_truth, pair_found,
               overlap,      truth_status, found_status, score,      minimum};
  return guarded([&] {
    each_chunk(frames, threads, [&](int64_t, int64_t begin, int64_t end) {
      Frame f;
      for (int64_t frame = begin; frame < end; ++frame) {
        f.gather(c, frame);
        recall_frame(c, frame, f, best);
      }
    });
    return int64_t(kDone);
  });
}

// Counting pass at falling thresholds (count >= 1): hits, false positives, misses and summed
// orientation similarity at each (count); `match` (truths, comes as -1) and `fate` (detections,
// comes as 0) at the last threshold.
DIFFRENDER_API int64_t diffrender_kitti_counts(
    const int64_t* truth_starts, const int64_t* found_starts, const int64_t* pair_starts,
    int64_t frames, const int64_t* pair_truth, const int64_t* pair_found, const double* overlap,
    const int8_t* truth_status, const int8_t* found_status, const double* score, double minimum,
    const double* thresholds, int64_t count, const double* truth_alpha, const double* found_alpha,
    int64_t threads, int64_t* hits, int64_t* false_positives, int64_t* misses, double* similarity,
    int64_t* match, int8_t* fate) {
  using namespace diffrender;
  const Case c{truth_starts, found_starts, pair_starts,  pair_truth, pair_found,
               overlap,      truth_status, found_status, score,      minimum};
  return guarded([&] {
    const int64_t chunks = (frames + kFramesAChunk - 1) / kFramesAChunk;
    const Sums nothing(count);
    std::vector<Sums> sums(static_cast<size_t>(chunks), nothing);
    each_chunk(frames, threads, [&](int64_t chunk, int64_t begin, int64_t end) {
      Sums& s = sums[size_t(chunk)];
      Frame f;
      for (int64_t frame = begin; frame < end; ++frame) {
        for (int64_t i = found_starts[frame]; i < found_starts[frame + 1]; ++i) {
          if (found_status[i] != kCounts) continue;
          // The first threshold at or below the score.
          const double* at = std::lower_bound(thresholds, thresholds + count, score[i],
                                              [](double t, double v) { return t > v; });
          if (at < thresholds + count) ++s.active[size_t(at - thresholds)];
          if (fate != nullptr && at < thresholds + count) fate[i] = kFalse;
        }
        f.gather(c, frame);
        if (f.scores.empty()) continue;
        Tally tally;
        size_t seen = 0;
        for (int64_t t = 0; t < count; ++t) {
          const size_t before = seen;
          while (seen < f.scores.size() && f.scores[seen] >= thresholds[t]) ++seen;
          if (seen > before)
            tally = match_frame(c, frame, f, thresholds[t], truth_alpha, found_alpha, nullptr,
                                nullptr);
          s.hits[size_t(t)] += tally.hits;
          s.spared[size_t(t)] += tally.spared;
          s.withheld[size_t(t)] += tally.withheld;
          s.similarity[size_t(t)] += tally.similarity;
        }
        match_frame(c, frame, f, thresholds[count - 1], truth_alpha, found_alpha, match, fate);
      }
    });
    int64_t counted = 0;
    for (int64_t i = 0; i < truth_starts[frames]; ++i) counted += truth_status[i] == kCounts;
    int64_t active = 0;
    for (int64_t t = 0; t < count; ++t) {
      int64_t spared = 0, withheld = 0;
      hits[t] = 0, similarity[t] = 0;
      for (const Sums& s : sums) {
        hits[t] += s.hits[size_t(t)];
        spared += s.spared[size_t(t)];
        withheld += s.withheld[size_t(t)];
        active += s.active[size_t(t)];
        similarity[t] += s.similarity[size_t(t)];
      }
      misses[t] = counted - hits[t] - withheld;
      false_positives[t] = active - spared;
    }
    return int64_t(kDone);
  });
}
