// What a run found, as JSON.
#pragma once

#include <string>

#include "session.h"

namespace roofgate::sim {

// What a called host function left behind.
struct HostCall {
  int status = 0;
  std::string status_text;
  std::string structure;  // its argument afterwards, in hexadecimal
};

// One object on one line:
//   findings  [{check, message, kernel, site, block, warp, lanes, space, address, bytes, count,
//             other: null or {site, block, warp, lane, action}}]; a site of -1: no instruction
//   launches  [{kernel, grid, block, cluster, dynamic_shared, executed, seconds, counters: [[site,
//             executed, lanes, divergent, requests, wavefronts, sectors, bytes]]}]; sites that
//             were executed
//   call      {status, text, structure}
std::string results_as_json(const Session& session, const HostCall& call);

}  // namespace roofgate::sim
