// What kernels make of the machine, computed once for all who ask: findings and the report.
#pragma once

#include "trace/activity.h"
#include "trace/contention.h"
#include "trace/model.h"
#include "trace/occupancy.h"
#include "trace/roofline.h"
#include "trace/shapes.h"
#include "trace/waves.h"

namespace hadal::trace {

struct Hardware {
  OccupancyReport occupancy;
  WaveReport waves;
  Contention contention;
  Shapes shapes;
  Roofline roofline;

  explicit Hardware(const GpuView& view, const Model& model = {})
      : occupancy(occupancy_report(view)),
        waves(wave_report(view)),
        contention(trace::contention(view)),
        shapes(infer_shapes(view, model)),
        roofline(trace::roofline(view, shapes, model)) {}
};

}  // namespace hadal::trace
