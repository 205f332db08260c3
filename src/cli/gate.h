// A small mixture-of-experts router, to make real expert loads out of real text.
//
// Every byte is a token. Its hidden state starts from the embeddings of the byte and the three
// before it, passes one fixed random layer after another, and in each is scored against 256 expert
// vectors. Routing is that of DeepSeek-V3 (arXiv 2412.19437, section 2.1.2): the four of eight
// groups with the best sums of two scores, then the best eight experts among them. Nothing is
// trained, but the input is real and experts become busy or idle, and change with the text, for the
// reason they do in a trained model: what is similar is routed alike.
#pragma once

#include <string_view>
#include <vector>

#include "base/threads.h"

namespace hadal::cli {

struct GateShape {
  int layers = 16;
  int experts = 256;
  int groups = 8;
  int groups_chosen = 4;
  int topk = 8;
  int windows = 8;  // the text is cut into so many equal parts, and counted apart
};

/// Counts [windows][layers][experts]: how many tokens of each window chose each expert.
/// Deterministic for any number of threads. `tokens_max` bounds the work; the text is taken from
/// its start.
std::vector<double> route_text(std::string_view text, const GateShape& shape, int64_t tokens_max,
                               ThreadPool& pool);

}  // namespace hadal::cli
