#include "results.h"

#include <cstdio>

namespace roofgate::sim {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') {
      result += '\\';
      result += character;
    } else if (static_cast<unsigned char>(character) < ' ') {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", character);
      result += escape;
    } else {
      result += character;
    }
  }
  return result + '"';
}

// Builds one JSON object or array; items are JSON already.
class Json {
 public:
  explicit Json(char open, char close) : text_(1, open), close_(close) {}

  Json& item(const std::string& json) {
    if (text_.size() > 1) text_ += ',';
    text_ += json;
    return *this;
  }
  Json& item(uint64_t number) { return item(std::to_string(number)); }
  Json& field(const std::string& name, const std::string& json) {
    return item(quoted(name) + ':' + json);
  }
  Json& field(const std::string& name, uint64_t number) {
    return field(name, std::to_string(number));
  }
  std::string text() const { return text_ + close_; }

 private:
  std::string text_;
  char close_;
};

Json object() { return Json('{', '}'); }
Json array() { return Json('[', ']'); }

std::string as_json(const Dim3& extent) {
  return array().item(extent.x).item(extent.y).item(extent.z).text();
}

const char* space_name(Space space) {
  switch (space) {
    case Space::kShared:
      return "shared";
    case Space::kGlobal:
      return "global";
    case Space::kLocal:
      return "local";
    case Space::kParameter:
      return "parameter";
    case Space::kNone:
      break;
  }
  return "";
}

std::string as_json(const Party& party) {
  return object()
      .field("site", party.site)
      .field("block", as_json(party.block))
      .field("warp", party.warp)
      .field("lane", std::to_string(party.lane))
      .field("action", quoted(party.action))
      .text();
}

std::string as_json(const RecordedFinding& recorded) {
  const Finding& finding = recorded.finding;
  return object()
      .field("check", quoted(check_name(finding.check)))
      .field("message", quoted(finding.message))
      .field("kernel", quoted(recorded.kernel))
      .field("site", recorded.site == kNoSite ? "-1" : std::to_string(recorded.site))
      .field("block", as_json(recorded.block))
      .field("warp", recorded.warp)
      .field("lanes", finding.lanes)
      .field("space", quoted(space_name(finding.space)))
      .field("address", finding.address)
      .field("bytes", finding.bytes)
      .field("count", recorded.count)
      .field("other", finding.other ? as_json(*finding.other) : "null")
      .text();
}

std::string as_json(const std::vector<SiteCounters>& counters) {
  Json sites = array();
  for (size_t site = 0; site < counters.size(); ++site) {
    const SiteCounters& counter = counters[site];
    if (!counter.executed) continue;
    sites.item(array()
                   .item(site)
                   .item(counter.executed)
                   .item(counter.lanes)
                   .item(counter.divergent)
                   .item(counter.requests)
                   .item(counter.wavefronts)
                   .item(counter.sectors)
                   .item(counter.bytes)
                   .text());
  }
  return sites.text();
}

std::string as_json(const LaunchRecord& launch) {
  return object()
      .field("kernel", quoted(launch.kernel))
      .field("grid", as_json(launch.shape.grid))
      .field("block", as_json(launch.shape.block))
      .field("cluster", as_json(launch.shape.cluster))
      .field("dynamic_shared", launch.shape.dynamic_shared_bytes)
      .field("executed", launch.executed)
      .field("seconds", std::to_string(launch.seconds))
      .field("counters", as_json(launch.counters))
      .text();
}

}  // namespace

std::string results_as_json(const Session& session, const HostCall& call) {
  Json findings = array();
  for (const RecordedFinding& finding : recorded_findings()) findings.item(as_json(finding));
  for (const RecordedFinding& finding : session.refusals) findings.item(as_json(finding));
  Json launches = array();
  for (const LaunchRecord& launch : session.launches) launches.item(as_json(launch));
  const std::string called = object()
                                 .field("status", std::to_string(call.status))
                                 .field("text", quoted(call.status_text))
                                 .field("structure", quoted(call.structure))
                                 .text();
  return object()
      .field("findings", findings.text())
      .field("launches", launches.text())
      .field("call", called)
      .text();
}

}  // namespace roofgate::sim
