#include "trace/report.h"

#include <algorithm>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <libdeflate.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/files.h"
#include "trace/report_page.h"
#include "trace/timeline_data.h"

namespace hadal::trace {
namespace {

// One script element of at most 32 MB of base64: strings of browsers end at 512 MB, and elements of
// this size are parsed without a stall.
constexpr size_t kBlockBytes = 16 << 20;
constexpr int kDeflateLevel = 6;

void append_base64(Bytes bytes, std::string& out) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (j < n ? static_cast<uint32_t>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= n ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
}

/// The payload as script elements, deflated block by block; the page joins what it inflates.
Result<> append_payload(Bytes payload, std::string& page) {
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kDeflateLevel), &libdeflate_free_compressor);
  if (!compressor) return fail(Code::kInternal, "libdeflate has no compressor");
  std::vector<std::byte> block;
  for (size_t at = 0; at < payload.size(); at += kBlockBytes) {
    const Bytes raw = payload.subspan(at, std::min(kBlockBytes, payload.size() - at));
    block.resize(libdeflate_deflate_compress_bound(compressor.get(), raw.size()));
    const size_t size = libdeflate_deflate_compress(compressor.get(), raw.data(), raw.size(),
                                                    block.data(), block.size());
    if (size == 0) return fail(Code::kInternal, "libdeflate could not compress the timeline");
    page += "<script type=\"application/octet-stream\" class=\"payload\">";
    append_base64(Bytes(block).first(size), page);
    page += "</script>\n";
  }
  return {};
}

/// JSON that may stand inside of a script element: ASCII, and nothing that could end the element.
/// Invalid UTF-8 becomes U+FFFD.
std::string script_json(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<' || c == '>' || c == '&') {
      safe += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string_view kind_name(TrackKind kind) {
  switch (kind) {
    case TrackKind::kHost: return "host";
    case TrackKind::kGpu: return "gpu";
    case TrackKind::kGpuAnnotation: return "gpu_annotation";
    case TrackKind::kGpuSync: return "gpu_sync";
    case TrackKind::kCounter: return "counter";
    case TrackKind::kOther: return "other";
  }
  return "other";
}

Json track_json(const Trace& trace, const TimelineTrack& info) {
  if (info.track < 0) {
    return {
        {"kind", "regions"}, {"label", "regions"}, {"events", info.events}, {"bars", info.bars}};
  }
  const Track& track = trace.tracks[static_cast<size_t>(info.track)];
  std::string label, process;
  if (track.kind == TrackKind::kHost || track.kind == TrackKind::kOther ||
      track.kind == TrackKind::kCounter) {
    label = track.thread_name.empty() ? track.thread : track.thread_name;
    process = track.process_name.empty() ? track.process : track.process_name;
  } else {
    label = fmt::format("stream {}", track.stream);
  }
  Json json = {{"kind", kind_name(track.kind)}, {"label", label}};
  if (!process.empty()) json["process"] = process;
  if (!track.process.empty()) json["pid"] = track.process;
  if (!track.thread.empty()) json["tid"] = track.thread;
  if (track.kind == TrackKind::kGpu) {
    json["device"] = track.device;
    json["stream"] = track.stream;
    json["role"] = name(info.role);
  }
  json["events"] = info.events;
  json["bars"] = info.bars;
  return json;
}

/// "rank 3"; where two are of one rank, the names of their files.
std::vector<std::string> rank_labels(std::span<const GpuView> ranks) {
  std::vector<std::string> labels;
  std::set<int> numbers;
  for (const GpuView& view : ranks) {
    const int own = view.trace->rank;
    const int rank = own >= 0 ? own : static_cast<int>(labels.size());
    numbers.insert(rank);
    labels.push_back(fmt::format("rank {}", rank));
  }
  if (numbers.size() == ranks.size()) return labels;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const std::string& path = ranks[i].trace->path;
    labels[i] = path.substr(path.rfind('/') + 1);
  }
  return labels;
}

Json rank_json(const GpuView& view, const TimelineRank& info, const std::string& label) {
  const Trace& trace = *view.trace;
  Json json = {{"label", label},
               {"path", trace.path},
               {"events", info.events},
               {"gpu_events", view.activities.size()},
               {"merged_events", info.merged_events},
               {"merge_below_us", us(info.merge_below_ns)},
               {"sms", info.num_sms},
               {"device", trace.devices.empty() ? "" : trace.devices.front().name},
               {"world_size", trace.world_size},
               {"window", view.window.description},
               {"tracks", Json::array()}};
  if (view.window.start_ns > INT64_MIN) json["window_start_us"] = us(view.window.start_ns);
  if (view.window.end_ns < INT64_MAX) json["window_end_us"] = us(view.window.end_ns);
  for (const TimelineTrack& track : info.tracks) {
    json["tracks"].push_back(track_json(trace, track));
  }
  return json;
}

}  // namespace

Result<std::string> render_report(const ReportInput& input) {
  if (input.ranks.empty()) return fail(Code::kInvalidArgument, "a report needs at least one trace");
  const Timeline timeline =
      encode_timeline(input.ranks, input.clock_offsets_ns, input.host_events_max);
  const std::vector<std::string> labels = rank_labels(input.ranks);
  Json meta = {{"version", 1},
               {"title", input.title},
               {"payload_bytes", timeline.payload.size()},
               {"timeline_ranks", Json::array()}};
  for (size_t i = 0; i < input.ranks.size(); ++i) {
    meta["timeline_ranks"].push_back(rank_json(input.ranks[i], timeline.ranks[i], labels[i]));
  }
  meta["analyses"] = input.analyses ? *input.analyses : Json::object();
  const auto [head, tail] = report_page();
  std::string page(head);
  page += "<script type=\"application/json\" id=\"meta\">";
  page += script_json(meta);
  page += "</script>\n";
  TRY(append_payload(timeline.payload, page));
  page += tail;
  return page;
}

Result<> write_report(const ReportInput& input, const std::string& path) {
  return write_output(path, TRY(render_report(input)));
}

}  // namespace hadal::trace
