#include "plan/file.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace featherweight {
namespace {

constexpr std::size_t kPrefix = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // as safetensors
constexpr std::string_view kFormat = "featherweight.fw";

Status refused(std::string text) { return {Code::kFile, std::move(text)}; }

Result<std::string_view> header_of(Bytes bytes) {
  if (bytes.size < kPrefix) return refused("a .fw file has 8 bytes at least, got " + std::to_string(bytes.size));
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kPrefix; ++i) length |= std::uint64_t{bytes.data[i]} << (8 * i);
  if (length > kMaxHeader || length > bytes.size - kPrefix)
    return refused("the header's length is " + std::to_string(length) + ", of a file of " +
                   std::to_string(bytes.size) + " bytes; it is cut off, or no .fw file");
  const char* header = reinterpret_cast<const char*>(bytes.data + kPrefix);
  if (length == 0 || *header != '{') return refused("the header does not begin with '{': this is no .fw file");
  return std::string_view(header, static_cast<std::size_t>(length));
}

Result<std::string> graph_of(const Json& header) {
  const Json* metadata = header.find("__metadata__");
  if (metadata == nullptr || metadata->object() == nullptr) return refused("the header has no __metadata__");
  const auto text = [&](std::string_view key) {
    const Json* value = metadata->find(key);
    return value != nullptr ? value->string() : nullptr;
  };
  const std::string* format = text("format");
  if (format == nullptr || *format != kFormat)
    return refused(
        "__metadata__: \"format\" should be \"featherweight.fw\"; is it a file of fw.save? compile makes .fw "
        "files");
  const std::string* version = text("version");
  const std::string own = std::to_string(kFormatVersion);
  if (version == nullptr || *version != own)
    return refused("__metadata__: \"version\" should be " + quoted(own) +
                   (version != nullptr ? ", got " + quoted(*version) + ": a newer featherweight wrote it" : ""));
  const std::string* graph = text("featherweight.graph");
  if (graph == nullptr) return refused("__metadata__ has no \"featherweight.graph\"");
  return *graph;
}

const DtypeInfo* dtype_named(const std::string* name) noexcept {
  for (const DtypeInfo& row : kDtypes)
    if (name != nullptr && *name == row.safetensors) return &row;
  return nullptr;
}

struct Range {
  std::uint64_t begin = 0, end = 0;
};

Result<Range> range_of(const Json& entry) {
  const Json* offsets = entry.find("data_offsets");
  const Json::Array* pair = offsets != nullptr ? offsets->array() : nullptr;
  if (pair == nullptr || pair->size() != 2) return refused("\"data_offsets\" should be two numbers");
  const std::int64_t* begin = (*pair)[0].integer();
  const std::int64_t* end = (*pair)[1].integer();
  if (begin == nullptr || end == nullptr || *begin < 0 || *end < *begin)
    return refused("\"data_offsets\" should be two numbers from 0 on, not descending");
  return Range{static_cast<std::uint64_t>(*begin), static_cast<std::uint64_t>(*end)};
}

Result<Shape> shape_of(const Json& entry) {
  const Json* sizes = entry.find("shape");
  if (sizes == nullptr || sizes->array() == nullptr) return refused("\"shape\" should be an array");
  if (sizes->array()->size() > kMaxRank) return refused("more than 8 axes");
  Shape shape;
  for (const Json& size : *sizes->array()) {
    if (size.integer() == nullptr) return refused("\"shape\" should be whole numbers");
    shape.push_back(*size.integer());
  }
  return shape;
}

Result<FileTensor> tensor_of(const Json& entry, Range range, Bytes body) {
  if (range.end > body.size) return refused("it ends beyond the file");
  const Json* name = entry.find("dtype");
  const DtypeInfo* dtype = dtype_named(name != nullptr ? name->string() : nullptr);
  if (dtype == nullptr) return refused("\"dtype\" should be F32, I64, I32, U8 or BOOL");
  FW_ASSIGN(shape, shape_of(entry));
  const auto elements = elements_of(shape);
  if (!elements) return refused("the shape " + text_of(shape) + " has a negative size, or too many elements");
  const std::uint64_t expected = static_cast<std::uint64_t>(*elements) * dtype->bytes;
  if (range.end - range.begin != expected)
    return refused(std::string(dtype->safetensors) + " of shape " + text_of(shape) + " takes " +
                   std::to_string(expected) + " bytes, got " + std::to_string(range.end - range.begin));
  return FileTensor{dtype->dtype, std::move(shape), {body.data + range.begin, static_cast<std::size_t>(expected)}};
}

// From the beginning to the end of the body, without hole or overlap.
Status check_ranges(std::vector<Range> ranges, std::size_t body) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at)
      return refused("byte ranges of tensors overlap or leave a hole at byte " + std::to_string(at) +
                     " of the body");
    at = range.end;
  }
  if (at != body)
    return refused("tensors take " + std::to_string(at) + " bytes of a body of " + std::to_string(body));
  return {};
}

}  // namespace

Result<File> read_file(Bytes bytes) {
  FW_ASSIGN(text, header_of(bytes));
  FW_ASSIGN(header, parse_json(text));
  if (header.object() == nullptr) return refused("the header should be an object");
  const Bytes body{bytes.data + kPrefix + text.size(), bytes.size - kPrefix - text.size()};
  File file;
  file.size = bytes.size;
  FW_ASSIGN(graph, graph_of(header));
  file.graph = std::move(graph);
  std::vector<Range> ranges;
  for (const auto& [name, entry] : *header.object()) {
    if (name == "__metadata__") continue;
    const std::string where = "tensor " + quoted(name);
    auto range = range_of(entry);
    if (!range.ok()) return range.status().within(where);
    auto tensor = tensor_of(entry, range.value(), body);
    if (!tensor.ok()) return tensor.status().within(where);
    ranges.push_back(range.value());
    file.tensors.emplace(name, std::move(tensor).value());
  }
  FW_TRY(check_ranges(std::move(ranges), body.size));
  return file;
}

}  // namespace featherweight
