#include "eplb/transfers.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::eplb {
namespace {

// How near a copy is to the GPU that needs it. kFar equals kNear where MoveCost makes no
// difference.
enum Level { kLocal = 0, kNear = 1, kFar = 2, kStorage = 3 };

constexpr int32_t kNoSource = -2;
// Before all else an item whose slot can be written for certain: the others depend on luck.
constexpr double kWritable = 1e6;

Result<> check_arguments(const Plan& previous, const Plan& next, const TransferOptions& options) {
  if (previous.num_layers != next.num_layers || previous.num_experts != next.num_experts ||
      previous.num_slots != next.num_slots || previous.num_nodes != next.num_nodes ||
      previous.gpu_first_slot != next.gpu_first_slot) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("the plans differ in shape: {} layers, {} experts, {} slots, {} GPUs on {} "
                    "nodes before, {}, {}, {}, {} on {} after",
                    previous.num_layers, previous.num_experts, previous.num_slots,
                    previous.num_gpus, previous.num_nodes, next.num_layers, next.num_experts,
                    next.num_slots, next.num_gpus, next.num_nodes));
  }
  if (options.sends_max < 1 || options.receives_max < 1) {
    return fail(Code::kInvalidArgument,
                fmt::format("sends_max is {} and receives_max {}; both must be 1 or more",
                            options.sends_max, options.receives_max));
  }
  const MoveCost& cost = options.move_cost;
  if (!(0 <= cost.same_gpu && cost.same_gpu <= cost.same_node &&
        cost.same_node <= cost.other_node)) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("move_cost is {}, {}, {} within a GPU, within a node and between nodes; it "
                    "must ascend from 0 or more",
                    cost.same_gpu, cost.same_node, cost.other_node));
  }
  for (const int gpu : options.failed_gpus) {
    if (gpu < 0 || gpu >= next.num_gpus) {
      return fail(Code::kInvalidArgument,
                  fmt::format("failed_gpus has {}; allowed are 0 to {}", gpu, next.num_gpus - 1));
    }
    for (int layer = 0; layer < next.num_layers; ++layer) {
      for (int slot = next.gpu_first_slot[gpu]; slot < next.gpu_first_slot[gpu + 1]; ++slot) {
        if (next.expert(layer, slot) < 0) continue;
        return fail(
            Code::kInvalidArgument,
            fmt::format("layer {} of the next plan has expert {} on GPU {}, which has failed",
                        layer, next.expert(layer, slot), gpu));
      }
    }
  }
  return {};
}

/// Rounds until `holders` GPUs have become `holders + more`, each sending to `sends` others a
/// round.
int spread_rounds(int64_t holders, int64_t more, int64_t sends) {
  int rounds = 0;
  for (int64_t have = holders; have < holders + more; have *= 1 + sends) ++rounds;
  return rounds;
}

/// Makes the rounds for a range of layers that share them.
///
/// Every slot that must change is an item. A round accepts a set of items, each with a source, such
/// that no item that remains is worse off afterwards: a slot is *blocked* if it holds the nearest
/// copy that some remaining item can get, and no other copy is as near. Hence the invariant that
/// what is reachable at some level stays so, which makes the total cost the least possible.
///
/// Why one spare buffer per GPU is enough. A blocked slot is the only nearest copy for some item,
/// and different slots are so for different items. If all items of a layer are blocked, there are
/// as many slots to be filled as there are items, so every item has its only nearest copy in such a
/// slot; a spare buffer is kept only while it is the only nearest copy for an item, so none is in
/// use by this layer. Hence a layer that uses a spare buffer can go on without another, and if no
/// layer can go on, all spare buffers are free, and one of them frees a slot.
class Scheduler {
 public:
  Scheduler(const Plan& previous, const Plan& next, const TransferOptions& options, int first_layer,
            int num_layers);

  int bound() const;
  void run(int first_round, TransferSchedule& out);

 private:
  struct Item {
    int32_t layer = 0;  // counted from first_layer_
    int32_t slot = 0;
    int32_t expert = 0;
    int32_t gpu = 0;
    int32_t source = kNoSource;
    bool accepted = false;
  };
  struct Choice {
    Level level = kStorage;
    int32_t source = kNoSource;
  };
  struct Copy {
    int32_t layer, expert, source, target;
  };

  size_t key(int layer, int expert) const {
    return static_cast<size_t>(layer) * num_experts_ + expert;
  }
  size_t at(int layer, int slot) const { return static_cast<size_t>(layer) * extended_ + slot; }
  bool in_place() const { return options_.hazard == Hazard::kInPlace; }
  int node(int gpu) const { return next_.node_of_gpu(gpu); }
  Level level(int slot, int gpu) const;
  bool overwritten(int layer, int slot) const {
    const int32_t item = slot < num_slots_ ? item_of_[at(layer, slot)] : -1;
    return item >= 0 && items_[item].accepted;
  }

  void start_round();
  void select(bool optimistic);
  bool take_best(int gpu, bool optimistic);
  double rank(const Item& item, const Choice& choice) const;
  Choice find_source(const Item& item) const;
  bool must_wait(const Item& item, Level best) const;
  bool blocked(int layer, int slot, bool saved = false) const;
  bool allowed(const Item& item) const;
  void accept(Item& item, const Choice& choice, bool optimistic);
  void withdraw(Item& item);
  void prune();
  int32_t spare_room(int layer, int gpu) const;
  void save(int layer, int slot);
  void save_ahead();
  void finish_round(int round, TransferSchedule& out);
  void account(const Copy& copy, bool kept, TransferSchedule& out) const;
  void drop_holder(int layer, int slot);

  const Plan& next_;
  const TransferOptions& options_;
  const int first_layer_;
  const int num_experts_;
  const int num_slots_;
  const int num_gpus_;
  const int extended_;  // slots and spare buffers
  const bool nodes_matter_;

  std::vector<int32_t> gpu_of_;       // [extended]
  std::vector<uint8_t> failed_;       // [gpus]
  std::vector<int32_t> content_;      // [layers][extended] expert, -1 none
  std::vector<int32_t> item_of_;      // [layers][extended] -1 none
  std::vector<int32_t> born_;         // [layers][extended] round in which a saved copy was written
  std::vector<int32_t> read_;         // [layers][extended] last round with a read
  std::vector<int32_t> spare_layer_;  // [gpus] whose expert is in the spare buffer, -1 free
  std::vector<std::vector<int32_t>> holders_;  // [layers][experts] slots, spare buffers included
  std::vector<std::vector<int32_t>> wants_;    // [layers][experts] items left
  std::vector<std::vector<int32_t>> by_gpu_;   // [gpus] items left
  std::vector<Item> items_;
  size_t left_ = 0;

  int round_ = 0;
  std::vector<int> sends_;         // [gpus] left in this round
  std::vector<int> receives_;      // [gpus] left in this round
  std::vector<double> duty_;       // [gpus] what the GPU will have to send, by fair shares
  std::vector<int32_t> order_;     // GPUs by items left, most first
  std::vector<int32_t> accepted_;  // items
  std::vector<Copy> saves_;
};

Scheduler::Scheduler(const Plan& previous, const Plan& next, const TransferOptions& options,
                     int first_layer, int num_layers)
    : next_(next),
      options_(options),
      first_layer_(first_layer),
      num_experts_(next.num_experts),
      num_slots_(next.num_slots),
      num_gpus_(next.num_gpus),
      extended_(next.num_slots + next.num_gpus),
      nodes_matter_(options.move_cost.same_node < options.move_cost.other_node) {
  gpu_of_.resize(extended_);
  failed_.resize(num_gpus_);
  for (const int gpu : options.failed_gpus) failed_[gpu] = 1;
  for (int g = 0; g < num_gpus_; ++g) {
    for (int s = next.gpu_first_slot[g]; s < next.gpu_first_slot[g + 1]; ++s) gpu_of_[s] = g;
    gpu_of_[num_slots_ + g] = g;
  }
  const size_t cells = static_cast<size_t>(num_layers) * extended_;
  content_.assign(cells, -1);
  item_of_.assign(cells, -1);
  born_.assign(cells, -1);
  read_.assign(cells, -1);
  spare_layer_.assign(num_gpus_, -1);
  holders_.resize(static_cast<size_t>(num_layers) * num_experts_);
  wants_.resize(holders_.size());
  by_gpu_.resize(num_gpus_);
  duty_.resize(num_gpus_);
  order_.resize(num_gpus_);
  for (int layer = 0; layer < num_layers; ++layer) {
    for (int slot = 0; slot < num_slots_; ++slot) {
      if (failed_[gpu_of_[slot]] != 0) continue;
      const int32_t has = previous.expert(first_layer + layer, slot);
      const int32_t gets = next.expert(first_layer + layer, slot);
      content_[at(layer, slot)] = has;
      if (has >= 0) holders_[key(layer, has)].push_back(slot);
      if (gets < 0 || gets == has) continue;
      const auto item = static_cast<int32_t>(items_.size());
      item_of_[at(layer, slot)] = item;
      wants_[key(layer, gets)].push_back(item);
      by_gpu_[gpu_of_[slot]].push_back(item);
      items_.push_back({.layer = layer, .slot = slot, .expert = gets, .gpu = gpu_of_[slot]});
    }
  }
  left_ = items_.size();
}

/// What the header promises for rounds_bound, from the state before the first round.
int Scheduler::bound() const {
  std::vector<int64_t> receives(num_gpus_);
  std::vector<int64_t> sends(num_gpus_);
  std::vector<int32_t> seen(num_gpus_, -1);
  int64_t total = 0;
  int rounds = items_.empty() ? 0 : 1;
  for (size_t k = 0; k < wants_.size(); ++k) {
    if (wants_[k].empty()) continue;
    const auto stamp = static_cast<int32_t>(k);
    int64_t holders = 0;
    for (const int32_t slot : holders_[k]) {
      holders += seen[gpu_of_[slot]] != stamp;
      seen[gpu_of_[slot]] = stamp;
    }
    const int only = holders == 1 ? gpu_of_[holders_[k].front()] : -1;
    int64_t receivers = 0;
    for (const int32_t item : wants_[k]) {
      const int gpu = items_[item].gpu;
      if (seen[gpu] == stamp) continue;
      seen[gpu] = stamp;
      ++receivers;
      ++receives[gpu];
    }
    if (only >= 0 && receivers > 0) ++sends[only];
    total += receivers - (holders == 0 ? 1 : 0);
    const int spread = holders > 0 ? spread_rounds(holders, receivers, options_.sends_max)
                                   : 1 + spread_rounds(1, receivers - 1, options_.sends_max);
    rounds = std::max(rounds, spread);
  }
  const auto ceil_div = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const auto live = std::ranges::count(failed_, 0);
  for (int g = 0; g < num_gpus_; ++g) {
    rounds = std::max({rounds, ceil_div(receives[g], options_.receives_max),
                       ceil_div(sends[g], options_.sends_max)});
  }
  if (live > 0) rounds = std::max(rounds, ceil_div(total, live * options_.sends_max));
  return rounds;
}

Level Scheduler::level(int slot, int gpu) const {
  const int from = gpu_of_[slot];
  if (from == gpu) return kLocal;
  return !nodes_matter_ || node(from) == node(gpu) ? kNear : kFar;
}

void Scheduler::run(int first_round, TransferSchedule& out) {
  for (round_ = 0; left_ > 0; ++round_) {
    start_round();
    if (!in_place()) {
      select(true);
      prune();
    }
    select(false);
    if (in_place()) save_ahead();
    CHECK(!accepted_.empty() || !saves_.empty(), "a round without a transfer");
    finish_round(first_round + round_, out);
  }
  out.rounds = first_round + round_;
}

void Scheduler::start_round() {
  sends_.assign(num_gpus_, options_.sends_max);
  receives_.assign(num_gpus_, options_.receives_max);
  accepted_.clear();
  saves_.clear();
  std::ranges::fill(duty_, 0.0);
  for (size_t k = 0; k < wants_.size(); ++k) {
    if (wants_[k].empty()) continue;
    const double share =
        static_cast<double>(wants_[k].size()) / static_cast<double>(holders_[k].size());
    for (const int32_t slot : holders_[k]) duty_[gpu_of_[slot]] += share;
  }
  std::iota(order_.begin(), order_.end(), 0);
  std::ranges::sort(order_, {}, [&](int g) { return std::pair(left_ - by_gpu_[g].size(), g); });
}

/// Accepts copies within GPUs, then for each GPU in turn one it receives, until nothing more fits.
/// Optimistic: without regard to blocked slots, which prune() sees to.
void Scheduler::select(bool optimistic) {
  for (const int gpu : order_) {
    for (const int32_t i : by_gpu_[gpu]) {
      Item& item = items_[i];
      if (item.accepted || !(optimistic || allowed(item))) continue;
      const Choice choice = find_source(item);
      if (choice.level == kLocal && choice.source != kNoSource) accept(item, choice, optimistic);
    }
  }
  bool progress = true;
  while (progress) {
    progress = false;
    for (const int gpu : order_) {
      if (receives_[gpu] > 0 && take_best(gpu, optimistic)) progress = true;
    }
  }
}

/// Of two items of a GPU the one to accept: that whose sender has the most to do, so that busy
/// senders are never idle; one that frees room at its sender, or does not need any here, gets a
/// lead. (Leads tuned on DeepSeek-V3's size: rounds over bound 1.30 without, 1.25 with them.)
double Scheduler::rank(const Item& item, const Choice& choice) const {
  double rank = choice.source >= 0 ? duty_[gpu_of_[choice.source]] : 0;
  if (!blocked(item.layer, item.slot)) rank += 1;
  const bool last = wants_[key(item.layer, item.expert)].size() == 1;
  if (last && choice.source >= 0) {
    const bool frees = choice.source >= num_slots_ || item_of_[at(item.layer, choice.source)] >= 0;
    if (frees) rank += 3;
  }
  return rank;
}

/// Accepts the item of this GPU that ranks best, if any can be.
bool Scheduler::take_best(int gpu, bool optimistic) {
  Item* best = nullptr;
  Choice best_choice;
  double best_rank = -1;
  for (const int32_t i : by_gpu_[gpu]) {
    Item& item = items_[i];
    if (item.accepted) continue;
    const Choice choice = find_source(item);
    if (choice.source == kNoSource || choice.level == kLocal) continue;
    const bool writable = allowed(item);
    if (!optimistic && !writable) continue;
    const double rank = this->rank(item, choice) + (writable ? kWritable : 0);
    if (rank <= best_rank || must_wait(item, choice.level)) continue;
    best = &item;
    best_choice = choice;
    best_rank = rank;
  }
  if (best == nullptr) return false;
  accept(*best, best_choice, optimistic);
  return true;
}

/// The nearest level at which there is a copy, and of the copies there that can be read now the one
/// whose GPU has the least to send; in place, slots that wait to be written are left alone if
/// possible.
Scheduler::Choice Scheduler::find_source(const Item& item) const {
  Choice choice;
  double best = 0;
  for (const int32_t slot : holders_[key(item.layer, item.expert)]) {
    if (born_[at(item.layer, slot)] == round_) continue;
    const Level near = level(slot, item.gpu);
    if (near > choice.level) continue;
    if (near < choice.level) choice = {near, kNoSource};
    if (near != kLocal && sends_[gpu_of_[slot]] == 0) continue;
    if (in_place() && overwritten(item.layer, slot)) continue;
    double rank = duty_[gpu_of_[slot]];
    if (in_place() && slot < num_slots_ && item_of_[at(item.layer, slot)] >= 0) rank += 1e9;
    if (choice.source == kNoSource || rank < best) {
      choice.source = slot;
      best = rank;
    }
  }
  if (choice.level == kStorage) choice.source = -1;
  return choice;
}

/// Whether a cheaper source will exist after this round: the expert is on its way to the same GPU,
/// or to the same node where it would come from another, or from storage to anywhere.
bool Scheduler::must_wait(const Item& item, Level best) const {
  for (const int32_t i : wants_[key(item.layer, item.expert)]) {
    const Item& other = items_[i];
    if (!other.accepted) continue;
    if (other.gpu == item.gpu || best == kStorage) return true;
    if (best == kFar && node(other.gpu) == node(item.gpu)) return true;
  }
  return false;
}

/// Whether overwriting the slot at the end of this round would take the nearest copy from an item
/// that is not accepted. Copies that this round makes count; those that it overwrites do not.
bool Scheduler::blocked(int layer, int slot, bool saved) const {
  const int32_t expert = content_[at(layer, slot)];
  if (expert < 0) return false;
  const size_t k = key(layer, expert);
  for (const int32_t i : wants_[k]) {
    if (items_[i].accepted) continue;
    const int gpu = items_[i].gpu;
    const Level mine = level(slot, gpu);
    bool replaced = false;
    for (const int32_t other : holders_[k]) {
      if (other == slot || level(other, gpu) > mine || overwritten(layer, other)) continue;
      if (saved && item_of_[at(layer, other)] >= 0) continue;
      replaced = true;
      break;
    }
    for (const int32_t j : wants_[k]) {
      if (replaced) break;
      replaced = items_[j].accepted && level(items_[j].slot, gpu) <= mine;
    }
    if (!replaced) return true;
  }
  return false;
}

/// Whether the item's slot may be written in this round, given what is accepted already.
bool Scheduler::allowed(const Item& item) const {
  if (in_place() && read_[at(item.layer, item.slot)] == round_) return false;
  return !blocked(item.layer, item.slot) || (!in_place() && spare_room(item.layer, item.gpu) >= 0);
}

void Scheduler::accept(Item& item, const Choice& choice, bool optimistic) {
  if (!optimistic && blocked(item.layer, item.slot)) save(item.layer, item.slot);
  item.accepted = true;
  item.source = choice.source;
  accepted_.push_back(item_of_[at(item.layer, item.slot)]);
  if (choice.level != kLocal) --receives_[item.gpu];
  if (choice.source < 0) return;
  if (choice.level != kLocal) --sends_[gpu_of_[choice.source]];
  read_[at(item.layer, choice.source)] = round_;
}

void Scheduler::withdraw(Item& item) {
  item.accepted = false;
  const bool local = item.source >= 0 && gpu_of_[item.source] == item.gpu;
  if (!local) ++receives_[item.gpu];
  if (!local && item.source >= 0) ++sends_[gpu_of_[item.source]];
  item.source = kNoSource;
}

/// Makes an optimistic selection safe: what is in a blocked slot is saved if there is room,
/// otherwise the slot's item is withdrawn, which may block the slots that hold its expert.
void Scheduler::prune() {
  std::vector<int32_t> open(accepted_.rbegin(), accepted_.rend());
  while (!open.empty()) {
    Item& item = items_[open.back()];
    open.pop_back();
    if (!item.accepted || !blocked(item.layer, item.slot)) continue;
    if (spare_room(item.layer, item.gpu) >= 0) {
      save(item.layer, item.slot);
      continue;
    }
    withdraw(item);
    for (const int32_t slot : holders_[key(item.layer, item.expert)]) {
      if (overwritten(item.layer, slot)) open.push_back(item_of_[at(item.layer, slot)]);
    }
  }
  std::erase_if(accepted_, [&](int32_t i) { return !items_[i].accepted; });
}

/// Where on the GPU an expert of the layer can be kept: a slot that the next plan leaves empty and
/// nobody needs, else the free spare buffer; -1 if neither.
int32_t Scheduler::spare_room(int layer, int gpu) const {
  for (int slot = next_.gpu_first_slot[gpu]; slot < next_.gpu_first_slot[gpu + 1]; ++slot) {
    if (next_.expert(first_layer_ + layer, slot) >= 0) continue;
    const size_t cell = at(layer, slot);
    // A slot being read stays: in the staged model too, since its reader may yet be withdrawn.
    const bool busy = born_[cell] == round_ || read_[cell] == round_;
    if (!busy && !blocked(layer, slot, true)) return slot;
  }
  return spare_layer_[gpu] < 0 ? num_slots_ + gpu : -1;
}

void Scheduler::save(int layer, int slot) {
  const int32_t expert = content_[at(layer, slot)];
  const int32_t room = spare_room(layer, gpu_of_[slot]);
  CHECK(room >= 0);
  if (room >= num_slots_) {
    spare_layer_[gpu_of_[slot]] = layer;
  } else {
    drop_holder(layer, room);
  }
  content_[at(layer, room)] = expert;
  born_[at(layer, room)] = round_;
  read_[at(layer, slot)] = round_;
  holders_[key(layer, expert)].push_back(room);
  saves_.push_back({layer, expert, slot, room});
}

/// In place a slot cannot be saved and written in one round, so GPUs that could not receive all
/// they may in this round prepare a slot for the next.
void Scheduler::save_ahead() {
  for (const int gpu : order_) {
    if (receives_[gpu] == 0) continue;
    for (const int32_t i : by_gpu_[gpu]) {
      const Item& item = items_[i];
      if (item.accepted || !blocked(item.layer, item.slot)) continue;
      if (spare_room(item.layer, gpu) < 0) continue;
      save(item.layer, item.slot);
      break;
    }
  }
}

void Scheduler::drop_holder(int layer, int slot) {
  const int32_t expert = content_[at(layer, slot)];
  if (expert < 0) return;
  std::vector<int32_t>& slots = holders_[key(layer, expert)];
  slots.erase(std::ranges::find(slots, slot));
  content_[at(layer, slot)] = -1;
}

void Scheduler::account(const Copy& copy, bool kept, TransferSchedule& out) const {
  const int gpu = gpu_of_[copy.target];
  const int from = copy.source < 0 ? -1 : gpu_of_[copy.source];
  const MoveCost& cost = options_.move_cost;
  if (from == gpu) {
    ++out.local;
    if (!kept) out.cost += cost.same_gpu;
  } else if (from >= 0 && node(from) == node(gpu)) {
    ++out.same_node;
    out.cost += cost.same_node;
  } else {
    ++(from >= 0 ? out.other_node : out.storage);
    out.cost += cost.other_node;
  }
}

/// Writes the round's transfers, carries them out on the state and frees what nobody needs any
/// more.
void Scheduler::finish_round(int round, TransferSchedule& out) {
  std::vector<Copy> copies = saves_;
  for (const int32_t i : accepted_) {
    const Item& item = items_[i];
    copies.push_back({item.layer, item.expert, item.source, item.slot});
  }
  std::vector<int> buffers(num_gpus_);
  for (const Copy& copy : copies) {
    if (copy.source >= 0) read_[at(copy.layer, copy.source)] = -2 - round;
  }
  const size_t begin = out.transfers.size();
  for (size_t i = 0; i < copies.size(); ++i) {
    const Copy& copy = copies[i];
    buffers[gpu_of_[copy.target]] += read_[at(copy.layer, copy.target)] == -2 - round;
    account(copy, i < saves_.size(), out);
    out.transfers.push_back(
        {first_layer_ + copy.layer, copy.expert, copy.source, copy.target, round});
  }
  std::sort(out.transfers.begin() + static_cast<ptrdiff_t>(begin), out.transfers.end(),
            [](const Transfer& a, const Transfer& b) {
              return std::pair(a.layer, a.target_slot) < std::pair(b.layer, b.target_slot);
            });
  for (const int32_t i : accepted_) {
    Item& item = items_[i];
    drop_holder(item.layer, item.slot);
    content_[at(item.layer, item.slot)] = item.expert;
    item_of_[at(item.layer, item.slot)] = -1;
    holders_[key(item.layer, item.expert)].push_back(item.slot);
    std::erase(wants_[key(item.layer, item.expert)], i);
  }
  for (std::vector<int32_t>& list : by_gpu_) {
    std::erase_if(list, [&](int32_t i) { return items_[i].accepted; });
  }
  left_ -= accepted_.size();
  for (int g = 0; g < num_gpus_; ++g) {
    if (spare_layer_[g] >= 0) {
      ++buffers[g];
      out.spare = 1;
      if (!blocked(spare_layer_[g], num_slots_ + g, true)) {
        drop_holder(spare_layer_[g], num_slots_ + g);
        spare_layer_[g] = -1;
      }
    }
    out.buffers = std::max(out.buffers, buffers[g]);
  }
}

}  // namespace

Result<TransferSchedule> schedule_transfers(const Plan& previous, const Plan& next,
                                            const TransferOptions& options) {
  TRY(check_arguments(previous, next, options));
  TransferSchedule out;
  const int step = options.rollout == Rollout::kByLayer ? 1 : std::max(1, next.num_layers);
  for (int layer = 0; layer < next.num_layers; layer += step) {
    Scheduler scheduler(previous, next, options, layer, step);
    out.rounds_bound += scheduler.bound();
    scheduler.run(out.rounds, out);
  }
  return out;
}

}  // namespace hadal::eplb
