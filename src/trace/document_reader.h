// The frame of a trace's document: members, the array of events, members, for as long as there are
// some. Who reads the events of the array is left to the derived class: load.cpp by many threads,
// cut.cpp one by one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/chunk.h"
#include "trace/document.h"
#include "trace/header.h"

namespace hadal::trace {

class DocumentReader {
 public:
  DocumentReader(Source& source, std::string path)
      : source_(source), window_(source), path_(std::move(path)) {}
  virtual ~DocumentReader() = default;
  DocumentReader(const DocumentReader&) = delete;
  DocumentReader& operator=(const DocumentReader&) = delete;

 protected:
  /// Reads the whole document. kCorrupt if it does not begin like JSON, or not even like its
  /// compression; errors of the file.
  Result<> read_document();

  /// Reads events from `at` on, and returns where and how their array ends: not kNext.
  struct ArrayEnd {
    uint64_t stop = 0;
    ChunkEnd end = ChunkEnd::kDocumentEnd;
    bool cut_short = false;
  };
  virtual ArrayEnd read_array(uint64_t at) = 0;

  void lose(uint64_t offset, std::string reason);

  Source& source_;
  TextWindow window_;
  std::string path_;
  Members members_;
  bool is_array_ = false;  // the document is a bare array
  Health health_;          // what is wrong with the frame
  uint64_t document_bytes_ = 0;

 private:
  Result<> read_frame();
  bool read_members(uint64_t& at);
  bool read_events_at(uint64_t& at);
};

}  // namespace hadal::trace
