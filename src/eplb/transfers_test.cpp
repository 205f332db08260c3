#include "eplb/transfers.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::eplb {
namespace {

Plan make_plan(int layers, int experts, std::vector<int32_t> first_slot, int nodes,
               std::vector<int32_t> phy2log) {
  Plan plan;
  plan.num_layers = layers;
  plan.num_experts = experts;
  plan.num_slots = first_slot.back();
  plan.num_nodes = nodes;
  plan.num_gpus = static_cast<int>(first_slot.size()) - 1;
  plan.gpu_first_slot = std::move(first_slot);
  plan.phy2log = std::move(phy2log);
  plan.quality.resize(layers);
  std::vector<std::vector<int32_t>> slots(static_cast<size_t>(layers) * experts);
  for (int l = 0; l < layers; ++l) {
    for (int s = 0; s < plan.num_slots; ++s) {
      if (plan.expert(l, s) >= 0) slots[l * experts + plan.expert(l, s)].push_back(s);
    }
  }
  for (const auto& list : slots)
    plan.max_count = std::max(plan.max_count, static_cast<int>(list.size()));
  for (const auto& list : slots) {
    plan.logcnt.push_back(static_cast<int32_t>(list.size()));
    for (int k = 0; k < plan.max_count; ++k) {
      plan.log2phy.push_back(k < static_cast<int>(list.size()) ? list[k] : -1);
    }
  }
  return plan;
}

struct Shape {
  int layers = 1, experts = 1, nodes = 1;
  std::vector<int32_t> first_slot;
  int gpus() const { return static_cast<int>(first_slot.size()) - 1; }
};

Shape random_shape(Rng& rng) {
  Shape shape;
  shape.layers = 1 + static_cast<int>(rng.below(3));
  shape.nodes = 1 + static_cast<int>(rng.below(3));
  const int gpus = shape.nodes * (1 + static_cast<int>(rng.below(4)));
  const int room = 1 + static_cast<int>(rng.below(5));
  shape.first_slot = {0};
  for (int g = 0; g < gpus; ++g) {
    const int extra = rng.chance(0.2) ? 1 : 0;
    shape.first_slot.push_back(shape.first_slot.back() + room + extra);
  }
  shape.experts = 1 + static_cast<int>(rng.below(shape.first_slot.back()));
  return shape;
}

/// Experts at random: each once, the rest replicas or holes; GPUs in `failed` are empty.
Plan random_plan(Rng& rng, const Shape& shape, const std::vector<int>& failed = {}) {
  const int slots = shape.first_slot.back();
  std::vector<int32_t> table;
  for (int l = 0; l < shape.layers; ++l) {
    std::vector<int32_t> open;
    for (int g = 0; g < shape.gpus(); ++g) {
      if (std::ranges::count(failed, g) > 0) continue;
      for (int s = shape.first_slot[g]; s < shape.first_slot[g + 1]; ++s) open.push_back(s);
    }
    shuffle(std::span(open), rng);
    std::vector<int32_t> row(slots, -1);
    const double holes = rng.chance(0.5) ? 0.0 : 0.3;
    for (size_t i = 0; i < open.size(); ++i) {
      const int e = static_cast<int>(i);
      if (e < shape.experts) {
        row[open[i]] = e;
      } else if (!rng.chance(holes)) {
        row[open[i]] = static_cast<int32_t>(rng.below(shape.experts));
      }
    }
    table.insert(table.end(), row.begin(), row.end());
  }
  return make_plan(shape.layers, shape.experts, shape.first_slot, shape.nodes, table);
}

int gpu_of(const Plan& plan, int slot) {
  if (slot >= plan.num_slots) return slot - plan.num_slots;
  int g = 0;
  while (plan.gpu_first_slot[g + 1] <= slot) ++g;
  return g;
}

/// Fake weights, one number per (layer, expert); -1 for nothing, and for what a failed GPU held.
class Bytes {
 public:
  Bytes(const Plan& plan, const std::vector<int>& failed) : plan_(plan) {
    spare_.assign(plan.num_gpus, -1);
    for (int l = 0; l < plan.num_layers; ++l) {
      for (int s = 0; s < plan.num_slots; ++s) {
        const bool dead = std::ranges::count(failed, gpu_of(plan, s)) > 0;
        memory_.push_back(dead ? -1 : weight(l, plan.expert(l, s)));
      }
    }
  }
  int64_t weight(int layer, int expert) const {
    return expert < 0 ? -1 : int64_t{1000003} * (layer + 1) + expert;
  }
  int64_t& at(int layer, int slot) {
    return slot >= plan_.num_slots ? spare_[slot - plan_.num_slots]
                                   : memory_[static_cast<size_t>(layer) * plan_.num_slots + slot];
  }

 private:
  const Plan& plan_;
  std::vector<int64_t> memory_;
  std::vector<int64_t> spare_;
};

/// Runs one round as the header defines it and checks its rules.
void run_round(Bytes& bytes, std::span<const Transfer> round, const Plan& plan,
               const TransferOptions& options, TransferSchedule& seen) {
  std::vector<int64_t> data;
  std::set<std::pair<int, int>> read;
  std::set<std::pair<int, int>> written;
  std::map<int, int> sends;
  std::map<int, int> receives;
  const auto cell = [&](int layer, int slot) {
    return std::pair(slot >= plan.num_slots ? -1 : layer, slot);
  };
  for (const Transfer& t : round) {
    data.push_back(t.source_slot < 0 ? bytes.weight(t.layer, t.expert)
                                     : bytes.at(t.layer, t.source_slot));
    ASSERT_EQ(data.back(), bytes.weight(t.layer, t.expert))
        << "read of a slot that holds something else";
    ASSERT_TRUE(written.insert(cell(t.layer, t.target_slot)).second) << "written twice";
    const int to = gpu_of(plan, t.target_slot);
    ASSERT_EQ(std::ranges::count(options.failed_gpus, to), 0);
    if (t.source_slot < 0) {
      ++receives[to];
      ++seen.storage;
      continue;
    }
    read.insert(cell(t.layer, t.source_slot));
    const int from = gpu_of(plan, t.source_slot);
    ASSERT_EQ(std::ranges::count(options.failed_gpus, from), 0);
    if (from == to) {
      ++seen.local;
      continue;
    }
    ++sends[from];
    ++receives[to];
    ++(plan.node_of_gpu(from) == plan.node_of_gpu(to) ? seen.same_node : seen.other_node);
  }
  for (const auto& [gpu, n] : sends) ASSERT_LE(n, options.sends_max);
  for (const auto& [gpu, n] : receives) ASSERT_LE(n, options.receives_max);
  std::map<int, int> staged;
  for (const auto& [layer, slot] : written) {
    if (!read.contains({layer, slot})) continue;
    ASSERT_EQ(options.hazard, Hazard::kStaged) << "read and written in place";
    ASSERT_LT(slot, plan.num_slots);
    seen.buffers = std::max(seen.buffers, ++staged[gpu_of(plan, slot)]);
  }
  for (size_t i = 0; i < round.size(); ++i)
    bytes.at(round[i].layer, round[i].target_slot) = data[i];
}

/// The least possible total of MoveCost, expert by expert.
double least_cost(const Plan& before, const Plan& after, const TransferOptions& options) {
  double total = 0;
  const MoveCost& cost = options.move_cost;
  for (int l = 0; l < after.num_layers; ++l) {
    for (int e = 0; e < after.num_experts; ++e) {
      std::set<int> gpus;
      std::set<int> nodes;
      for (int s = 0; s < after.num_slots; ++s) {
        const int g = gpu_of(after, s);
        if (before.expert(l, s) != e || std::ranges::count(options.failed_gpus, g) > 0) continue;
        gpus.insert(g);
        nodes.insert(after.node_of_gpu(g));
      }
      for (int s = 0; s < after.num_slots; ++s) {
        if (after.expert(l, s) != e || before.expert(l, s) == e) continue;
        const int g = gpu_of(after, s);
        const bool new_gpu = gpus.insert(g).second;
        const bool new_node = nodes.insert(after.node_of_gpu(g)).second;
        total += new_node ? cost.other_node : new_gpu ? cost.same_node : cost.same_gpu;
      }
    }
  }
  return total;
}

void check_schedule(const Plan& before, const Plan& after, const TransferOptions& options,
                    TransferSchedule* result = nullptr) {
  const auto schedule = schedule_transfers(before, after, options);
  ASSERT_TRUE(schedule) << schedule.error().message;
  const std::vector<int> failed(options.failed_gpus.begin(), options.failed_gpus.end());
  Bytes bytes(before, failed);
  TransferSchedule seen;
  const std::span<const Transfer> all = schedule->transfers;
  size_t i = 0;
  for (int round = 0; round < schedule->rounds; ++round) {
    size_t end = i;
    while (end < all.size() && all[end].round == round) ++end;
    ASSERT_GT(end, i) << "an empty round";
    ASSERT_NO_FATAL_FAILURE(run_round(bytes, all.subspan(i, end - i), after, options, seen));
    i = end;
  }
  ASSERT_EQ(i, all.size());
  for (int l = 0; l < after.num_layers; ++l) {
    for (int s = 0; s < after.num_slots; ++s) {
      if (after.expert(l, s) < 0) continue;
      ASSERT_EQ(bytes.at(l, s), bytes.weight(l, after.expert(l, s)))
          << "layer " << l << " slot " << s;
    }
  }
  ASSERT_GE(schedule->rounds, schedule->rounds_bound);
  ASSERT_EQ(schedule->local, seen.local);
  ASSERT_EQ(schedule->same_node, seen.same_node);
  ASSERT_EQ(schedule->other_node, seen.other_node);
  ASSERT_EQ(schedule->storage, seen.storage);
  ASSERT_GE(schedule->buffers, seen.buffers);
  ASSERT_LE(schedule->buffers, seen.buffers + schedule->spare);
  ASSERT_NEAR(schedule->cost, least_cost(before, after, options), 1e-9);
  if (result != nullptr) *result = *schedule;
}

TransferOptions random_options(Rng& rng) {
  TransferOptions options;
  options.hazard = rng.chance(0.5) ? Hazard::kStaged : Hazard::kInPlace;
  options.rollout = rng.chance(0.5) ? Rollout::kByLayer : Rollout::kTogether;
  options.sends_max = 1 + static_cast<int>(rng.below(3));
  options.receives_max = 1 + static_cast<int>(rng.below(3));
  if (rng.chance(0.5)) options.move_cost = {.same_gpu = 0.25, .same_node = 1, .other_node = 4};
  return options;
}

TEST(Transfers, RandomPlansArriveWholeInBothModels) {
  Rng rng(1);
  int64_t rounds = 0;
  int64_t bound = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    const Shape shape = random_shape(rng);
    const Plan before = random_plan(rng, shape);
    const Plan after = random_plan(rng, shape);
    TransferSchedule schedule;
    ASSERT_NO_FATAL_FAILURE(check_schedule(before, after, random_options(rng), &schedule)) << trial;
    rounds += schedule.rounds;
    bound += schedule.rounds_bound;
  }
  EXPECT_LT(static_cast<double>(rounds), 1.5 * static_cast<double>(bound));
  RecordProperty("rounds_over_bound",
                 std::to_string(static_cast<double>(rounds) / static_cast<double>(bound)));
}

TEST(Transfers, FailedGpusAreNeitherReadNorWritten) {
  Rng rng(2);
  int64_t from_storage = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    Shape shape = random_shape(rng);
    if (shape.gpus() < 2) continue;
    const int dead = static_cast<int>(rng.below(shape.gpus()));
    const int lost = shape.first_slot[dead + 1] - shape.first_slot[dead];
    shape.experts = std::min(shape.experts, shape.first_slot.back() - lost);
    const std::vector<int> failed = {dead};
    const Plan before = random_plan(rng, shape);
    const Plan after = random_plan(rng, shape, failed);
    TransferOptions options = random_options(rng);
    options.failed_gpus = failed;
    TransferSchedule schedule;
    ASSERT_NO_FATAL_FAILURE(check_schedule(before, after, options, &schedule)) << trial;
    from_storage += schedule.storage;
    // And back: the repaired GPU comes up empty.
    options.failed_gpus = {};
    ASSERT_NO_FATAL_FAILURE(check_schedule(after, before, options)) << trial;
  }
  EXPECT_GT(from_storage, 0);
}

TEST(Transfers, NothingChangesNothingMoves) {
  Rng rng(3);
  for (int trial = 0; trial < 100; ++trial) {
    const Plan plan = random_plan(rng, random_shape(rng));
    const TransferSchedule schedule = schedule_transfers(plan, plan).value();
    EXPECT_TRUE(schedule.transfers.empty());
    EXPECT_EQ(schedule.rounds, 0);
    EXPECT_EQ(schedule.rounds_bound, 0);
    EXPECT_EQ(schedule.buffers, 0);
  }
}

TEST(Transfers, ACycleTakesOneRoundStagedAndTwoInPlace) {
  const int n = 6;
  std::vector<int32_t> first(n + 1);
  std::iota(first.begin(), first.end(), 0);
  std::vector<int32_t> before(n);
  std::iota(before.begin(), before.end(), 0);
  std::vector<int32_t> after = before;
  std::rotate(after.begin(), after.begin() + 1, after.end());
  const Plan a = make_plan(1, n, first, 1, before);
  const Plan b = make_plan(1, n, first, 1, after);
  TransferSchedule schedule;
  check_schedule(a, b, {}, &schedule);
  EXPECT_EQ(schedule.rounds, 1);
  EXPECT_EQ(schedule.buffers, 1);
  EXPECT_EQ(schedule.spare, 0);
  check_schedule(a, b, {.hazard = Hazard::kInPlace}, &schedule);
  EXPECT_EQ(schedule.rounds, 2);
  EXPECT_EQ(schedule.spare, 1);
  EXPECT_EQ(schedule.buffers, 1);
}

TEST(Transfers, AnEmptySlotServesAsSpareRoom) {
  // One GPU, two experts to swap, one slot that stays empty.
  const Plan a = make_plan(1, 2, {0, 3}, 1, {0, 1, -1});
  const Plan b = make_plan(1, 2, {0, 3}, 1, {1, 0, -1});
  TransferSchedule schedule;
  check_schedule(a, b, {.hazard = Hazard::kInPlace}, &schedule);
  EXPECT_EQ(schedule.spare, 0);
  EXPECT_EQ(schedule.buffers, 0);
}

TEST(Transfers, APopularExpertSpreadsLikeATree) {
  const int n = 32;
  std::vector<int32_t> first;
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  for (int g = 0; g <= n; ++g) first.push_back(2 * g);
  for (int g = 0; g < n; ++g) {
    before.insert(before.end(), {g + 1, g == 0 ? 0 : -1});
    after.insert(after.end(), {g + 1, 0});
  }
  const Plan a = make_plan(1, n + 1, first, 1, before);
  const Plan b = make_plan(1, n + 1, first, 1, after);
  TransferSchedule schedule;
  check_schedule(a, b, {}, &schedule);
  EXPECT_EQ(schedule.rounds, 5);
  EXPECT_EQ(schedule.rounds_bound, 5);
  check_schedule(a, b, {.sends_max = 3}, &schedule);
  EXPECT_EQ(schedule.rounds, 3);
}

TEST(Transfers, LinksBetweenNodesCarryAnExpertOnce) {
  const int n = 16;
  std::vector<int32_t> first;
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  for (int g = 0; g <= n; ++g) first.push_back(2 * g);
  for (int g = 0; g < n; ++g) {
    before.insert(before.end(), {g + 1, g == 0 ? 0 : -1});
    after.insert(after.end(), {g + 1, 0});
  }
  TransferOptions options;
  options.move_cost = {.same_gpu = 0, .same_node = 1, .other_node = 18};
  TransferSchedule schedule;
  check_schedule(make_plan(1, n + 1, first, 4, before), make_plan(1, n + 1, first, 4, after),
                 options, &schedule);
  EXPECT_EQ(schedule.other_node, 3);
  EXPECT_EQ(schedule.same_node, 12);
}

TransferOptions with_failed(std::span<const int> gpus) {
  TransferOptions options;
  options.failed_gpus = gpus;
  return options;
}

TEST(Transfers, NamesWhatIsWrong) {
  const Plan a = make_plan(1, 2, {0, 1, 2}, 1, {0, 1});
  const Plan b = make_plan(1, 2, {0, 2}, 1, {0, 1});
  EXPECT_FALSE(schedule_transfers(a, b));
  EXPECT_FALSE(schedule_transfers(a, a, {.sends_max = 0}));
  EXPECT_FALSE(schedule_transfers(a, a, {.move_cost = {.same_gpu = 2}}));
  const std::vector<int> failed = {1};
  EXPECT_EQ(schedule_transfers(a, a, with_failed(failed)).error().message,
            "layer 0 of the next plan has expert 1 on GPU 1, which has failed");
  const std::vector<int> unknown = {2};
  EXPECT_FALSE(schedule_transfers(a, a, with_failed(unknown)));
  Plan next = a;
  EXPECT_FALSE(align(b, next));
  EXPECT_FALSE(align(a, next, {.failed_gpus = unknown}));
}

/// Per layer and GPU the sorted experts: what renaming and reordering must keep, as a multiset of
/// GPUs.
std::multiset<std::vector<int32_t>> contents(const Plan& plan, int layer) {
  std::multiset<std::vector<int32_t>> out;
  for (int g = 0; g < plan.num_gpus; ++g) {
    const auto row = plan.experts(layer);
    std::vector<int32_t> held(row.begin() + plan.gpu_first_slot[g],
                              row.begin() + plan.gpu_first_slot[g + 1]);
    std::ranges::sort(held);
    out.insert(held);
  }
  return out;
}

int64_t slots_kept(const Plan& before, const Plan& after) {
  int64_t kept = 0;
  for (size_t i = 0; i < after.phy2log.size(); ++i) {
    kept += after.phy2log[i] >= 0 && after.phy2log[i] == before.phy2log[i];
  }
  return kept;
}

/// The most slots any renaming keeps in layer 0, by trying all.
int64_t most_kept(const Plan& before, const Plan& after, bool by_node) {
  std::vector<int> name(after.num_gpus);
  std::iota(name.begin(), name.end(), 0);
  int64_t best = 0;
  do {
    int64_t kept = 0;
    bool possible = true;
    for (int a = 0; a < after.num_gpus && possible; ++a) {
      const int b = name[a];
      for (int c = 0; c < a && by_node; ++c) {
        possible = possible && (after.node_of_gpu(a) == after.node_of_gpu(c)) ==
                                   (after.node_of_gpu(b) == after.node_of_gpu(name[c]));
      }
      const int size = after.gpu_first_slot[a + 1] - after.gpu_first_slot[a];
      possible = possible && size == after.gpu_first_slot[b + 1] - after.gpu_first_slot[b];
      if (!possible) break;
      std::multiset<int> had;
      for (int s = 0; s < size; ++s) had.insert(before.expert(0, before.gpu_first_slot[b] + s));
      for (int s = 0; s < size; ++s) {
        const auto found = had.find(after.expert(0, after.gpu_first_slot[a] + s));
        if (found == had.end() || *found < 0) continue;
        had.erase(found);
        ++kept;
      }
    }
    if (possible) best = std::max(best, kept);
  } while (std::ranges::next_permutation(name).found);
  return best;
}

TEST(Align, KeepsAsMuchAsAnyRenaming) {
  Rng rng(4);
  for (int trial = 0; trial < 1500; ++trial) {
    Shape shape = random_shape(rng);
    if (shape.gpus() > 6) continue;
    const Plan before = random_plan(rng, shape);
    Plan after = random_plan(rng, shape);
    const bool by_node = rng.chance(0.5);
    const Plan original = after;
    const int64_t most = most_kept(before, after, by_node);
    const int64_t kept = align(before, after, {.keep_nodes = by_node}).value();
    ASSERT_EQ(kept, slots_kept(before, after)) << trial;
    if (shape.layers == 1) {
      ASSERT_EQ(kept, most) << trial;
    }
    for (int l = 0; l < shape.layers; ++l) {
      ASSERT_EQ(contents(after, l), contents(original, l));
      for (int e = 0; e < shape.experts; ++e) {
        ASSERT_EQ(after.count(l, e), original.count(l, e));
        for (const int32_t s : after.slots(l, e)) ASSERT_EQ(after.expert(l, s), e);
      }
    }
    const Plan once = after;
    ASSERT_EQ(align(before, after, {.keep_nodes = by_node}).value(), kept);
    ASSERT_EQ(after.phy2log, once.phy2log);
  }
}

TEST(Align, FindsAHiddenRenaming) {
  // The same plan with GPUs and slots shuffled comes back as it was.
  Rng rng(5);
  std::vector<int32_t> first;
  for (int g = 0; g <= 32; ++g) first.push_back(9 * g);
  const Shape shape{.layers = 2, .experts = 256, .nodes = 4, .first_slot = first};
  const Plan before = random_plan(rng, shape);
  std::vector<int> name(32);
  std::iota(name.begin(), name.end(), 0);
  shuffle(std::span(name), rng);
  std::vector<int32_t> table(before.phy2log.size());
  for (int l = 0; l < 2; ++l) {
    for (int g = 0; g < 32; ++g) {
      for (int s = 0; s < 9; ++s) {
        table[l * 288 + name[g] * 9 + s] = before.expert(l, g * 9 + (s + g) % 9);
      }
    }
  }
  Plan after = make_plan(2, 256, first, 4, table);
  after.dispatch_weight.resize(table.size());
  for (size_t i = 0; i < table.size(); ++i) after.dispatch_weight[i] = static_cast<float>(table[i]);
  const int64_t kept = align(before, after).value();
  EXPECT_EQ(kept, static_cast<int64_t>(std::ranges::count_if(table, [](int e) { return e >= 0; })));
  EXPECT_EQ(after.phy2log, before.phy2log);
  for (size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(after.dispatch_weight[i], static_cast<float>(before.phy2log[i]));
  }
  EXPECT_EQ(after.quality[0].moves, 0);
}

TEST(Align, RespectsSpeedFailureAndPins) {
  const Plan before = make_plan(1, 3, {0, 1, 2, 3}, 1, {0, 1, 2});
  const Plan rotated = make_plan(1, 3, {0, 1, 2, 3}, 1, {1, 2, 0});
  Plan next = rotated;
  EXPECT_EQ(align(before, next).value(), 3);
  next = rotated;
  const std::vector<double> speed = {1, 2, 3};
  EXPECT_EQ(align(before, next, {.gpu_speed = speed}).value(), 0);
  EXPECT_EQ(next.phy2log, rotated.phy2log);
  const std::vector<Pin> pins = {{.layer = -1, .expert = 1, .gpu = 0}};
  next = rotated;
  EXPECT_EQ(align(before, next, {.pins = pins}).value(), 1);
  EXPECT_EQ(next.phy2log, (std::vector<int32_t>{1, 0, 2}));
  const std::vector<int> failed = {1};
  next = make_plan(1, 3, {0, 2, 3, 5}, 1, {1, 2, -1, 0, -1});
  const Plan old = make_plan(1, 3, {0, 2, 3, 5}, 1, {0, -1, 1, 2, -1});
  EXPECT_EQ(align(old, next, {.failed_gpus = failed}).value(), 2);
  EXPECT_EQ(next.phy2log, (std::vector<int32_t>{0, -1, -1, 2, 1}));
}

}  // namespace
}  // namespace hadal::eplb
