// Transfers: the copies that turn one plan into the next, in rounds that need no second thought.
//
// The model. Every slot holds the weights of one expert of its layer, or nothing. Time goes in
// rounds. All reads of a round see the state at its start, all its writes appear at its end, so the
// copies of a round may run in any order or all at once. In a round a slot is written at most once,
// and a GPU sends at most `sends_max` and receives at most `receives_max` experts over links;
// copies within a GPU are free of these limits, since its memory is a hundred times faster than its
// link.
//
//  - Hazard::kStaged (default): a slot may be read and written in the same round. The program lets
//  the
//    incoming weights land in a staging buffer if their slot is being read, and moves them over at
//    the end of the round. A permutation, be it one cycle through all GPUs, can then run in one
//    round.
//  - Hazard::kInPlace: no slot is both read and written in one round, so weights land where they
//  stay.
//
// In both models an expert may be about to lose its last copy while somebody still needs it: always
// for a cycle in place, and in a staged schedule where the limits let only part of a cycle run.
// Such an expert is first copied, locally, to an empty slot of the GPU or else to the GPU's spare
// buffer, and read from there. One spare buffer per GPU is always enough (proof in transfers.cpp);
// `buffers` says how many, staging and spare together, the schedule needs at once.
//
// Sources. The total of MoveCost is least possible: a slot is filled from its own GPU, if the
// expert is or will be there, else from its node, else from another node, and where links between
// nodes cost more, an expert enters a node once and spreads from there. Slots filled in earlier
// rounds serve as sources, so a popular expert spreads like a tree, by a factor of 1 + sends_max
// per round. Within these costs the number of rounds is kept near `rounds_bound`: the GPUs with the
// most left to receive choose first, and take what the busiest senders have.
//
// An expert without any live copy (its GPUs failed) is loaded once from storage: source_slot is -1.
//
// align() comes before all this: plans are equal up to the names of GPUs, so it renames those of
// the next plan to keep most experts where they are, by an optimal assignment.
//
// Everything is deterministic and thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "eplb/eplb.h"

namespace hadal::eplb {

struct Transfer {
  int32_t layer = 0;
  int32_t expert = 0;
  int32_t source_slot = 0;  // -1: from storage
  int32_t target_slot = 0;  // num_slots + g: the spare buffer of GPU g, also as a source
  int32_t round = 0;

  bool operator==(const Transfer&) const = default;
};

enum class Hazard { kStaged, kInPlace };

/// kByLayer: the layers one after another, so that each can be served anew as soon as its own last
/// round is done. kTogether: all layers share every round, which takes fewer rounds in all.
enum class Rollout { kByLayer, kTogether };

struct TransferOptions {
  Hazard hazard = Hazard::kStaged;
  Rollout rollout = Rollout::kByLayer;
  int sends_max = 1;                      // per GPU and round, >= 1
  int receives_max = 1;                   // likewise; loads from storage count as received
  MoveCost move_cost = {};                // 0 <= same_gpu <= same_node <= other_node
  std::span<const int> failed_gpus = {};  // neither read nor written; `next` must be empty there
};

struct TransferSchedule {
  std::vector<Transfer> transfers;  // ascending by round, layer, target slot
  int rounds = 0;
  /// No schedule has fewer rounds under these limits, per layer summed for kByLayer: from what
  /// every GPU must receive and send, what all must receive together, and how fast an expert can
  /// spread.
  int rounds_bound = 0;
  double cost = 0;    // by MoveCost, storage as other_node, without copies to spare room
  int64_t local = 0;  // transfers within a GPU, copies to spare room included
  int64_t same_node = 0;
  int64_t other_node = 0;
  int64_t storage = 0;
  int buffers = 0;  // room for so many experts, beside its slots, must a GPU have at most
  int spare = 0;    // of these, kept from round to round: 1 if any spare buffer is used, else 0
};

/// Slots whose expert stays need nothing; slots that are empty in `next` keep what they hold.
/// Errors (kInvalidArgument): plans of different shape, and the options' rules.
Result<TransferSchedule> schedule_transfers(const Plan& previous, const Plan& next,
                                            const TransferOptions& options = {});

struct AlignOptions {
  /// Rename only whole nodes and GPUs within them, so that experts that share a node still do.
  /// Always so where next.scope is hierarchical; needed too where min_nodes_per_expert > 1.
  bool keep_nodes = false;
  std::span<const double> gpu_speed = {};  // as in Problem: only GPUs of equal speed trade names
  std::span<const int> failed_gpus = {};   // keep their names
  std::span<const Pin> pins = {};          // respected, if `next` does
};

/// Renames GPUs of `next`, per layer, among those of equal capacity and speed (and nodes of equal
/// GPUs), so that the most slots hold an expert that their GPU held in `previous`; among such, the
/// fewest experts are new to their node; among such, the most GPUs keep their name. Then puts
/// experts that stay on their GPU back into their old slots. Loads, replica ranks and dispatch
/// weights move along, so balance is the same. Updates LayerQuality::moves. O(gpus^3) per layer at
/// worst. Returns the number of slots, all layers, that keep their expert.
Result<int64_t> align(const Plan& previous, Plan& next, const AlignOptions& options = {});

}  // namespace hadal::eplb
