// The rules behind find(), by subject; each appends what it finds. They share the analyses that
// several of them need.
#pragma once

#include <vector>

#include "trace/comm.h"
#include "trace/findings.h"
#include "trace/gates.h"
#include "trace/hardware.h"
#include "trace/launch.h"
#include "trace/regions.h"
#include "trace/streams.h"
#include "trace/summary.h"

namespace hadal::trace {

struct Analyses {
  const GpuView& view;
  const Hardware& hardware;
  Summary summary;
  std::vector<StreamUse> streams;
  CommUse comm;
  LaunchUse launch;
  Analyses(const GpuView& v, const Hardware& h)
      : view(v),
        hardware(h),
        summary(summarize(v)),
        streams(stream_use(v)),
        comm(comm_use(v)),
        launch(launch_use(v, streams)) {}
};

using FindingList = std::vector<Finding>;

void find_exposed(const Analyses& a, FindingList& out);    // structural exposure, by cause
void find_barriers(const Analyses& a, FindingList& out);   // waiting for other ranks
void find_host(const Analyses& a, FindingList& out);       // launch gaps, late host, blocking calls
void find_hardware(const Analyses& a, FindingList& out);   // partition, waves, occupancy, roofline
void find_structure(const Analyses& a, FindingList& out);  // small kernels

}  // namespace hadal::trace
