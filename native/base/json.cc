#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <locale>
#include <sstream>
#include <system_error>

namespace featherweight {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// The length of the UTF-8 sequence at the start of `text`, 0 where it is not valid (overlong forms and surrogates
// are not).
std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
  if (length < 2) return length;
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned char second = byte(1);
  const bool wrong = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
                     (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F);
  return wrong ? 0 : length;
}

void append_utf8(std::string& out, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xC0 | (point >> 6));
  } else {
    if (point < 0x10000) {
      put(0xE0 | (point >> 12));
    } else {
      put(0xF0 | (point >> 18));
      put(0x80 | ((point >> 12) & 0x3F));
    }
    put(0x80 | ((point >> 6) & 0x3F));
  }
  put(0x80 | (point & 0x3F));
}

// Null where the number overflows.
std::optional<double> to_double(std::string_view text) {
  double value = 0;
#if defined(__cpp_lib_to_chars)
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
#else
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());  // whatever the process's decimal point is
  stream >> value;
  if (stream.fail()) return std::nullopt;
#endif
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

class Parser {
 public:
  Parser(std::string_view text, JsonLimits limits) : text_(text), limits_(limits) {}

  Result<Json> document() {
    FW_ASSIGN(value, parse(0));
    skip_space();
    if (at_ < text_.size()) return error("one value and nothing after it");
    return value;
  }

 private:
  Status error(const std::string& expected) const {
    const std::string got = at_ < text_.size() ? "byte " + std::to_string(static_cast<unsigned char>(text_[at_]))
                                               : std::string("the end");
    return {Code::kFile, "JSON, at " + std::to_string(at_) + ": expected " + expected + ", got " + got};
  }
  bool at_end() const noexcept { return at_ == text_.size(); }
  char peek() const noexcept { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) noexcept {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) noexcept {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() noexcept {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }

  Result<Json> parse(int depth) {
    skip_space();
    if (depth > limits_.depth) return error("at most " + std::to_string(limits_.depth) + " levels");
    if (++values_ > limits_.values) return error("at most " + std::to_string(limits_.values) + " values");
    switch (peek()) {
      case '{': return parse_object(depth);
      case '[': return parse_array(depth);
      case '"': {
        FW_ASSIGN(text, parse_string());
        return Json(std::move(text));
      }
      case 't': return take("true") ? Result<Json>(Json(true)) : error("a value");
      case 'f': return take("false") ? Result<Json>(Json(false)) : error("a value");
      case 'n': return take("null") ? Result<Json>(Json()) : error("a value");
      default: return parse_number();
    }
  }

  Result<Json> parse_array(int depth) {
    ++at_;
    Json::Array items;
    skip_space();
    if (take(']')) return Json(std::move(items));
    do {
      FW_ASSIGN(item, parse(depth + 1));
      items.push_back(std::move(item));
      skip_space();
    } while (take(','));
    if (!take(']')) return error("',' or ']'");
    return Json(std::move(items));
  }

  Result<Json> parse_object(int depth) {
    ++at_;
    Json::Object members;
    skip_space();
    if (take('}')) return Json(std::move(members));
    do {
      skip_space();
      if (peek() != '"') return error("a key");
      FW_ASSIGN(key, parse_string());
      skip_space();
      if (!take(':')) return error("':'");
      FW_ASSIGN(value, parse(depth + 1));
      members.emplace_back(std::move(key), std::move(value));
      skip_space();
    } while (take(','));
    if (!take('}')) return error("',' or '}'");
    FW_TRY(no_key_twice(members));
    return Json(std::move(members));
  }

  static Status no_key_twice(const Json::Object& members) {
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& [key, value] : members) keys.emplace_back(key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice == keys.end()) return {};
    return {Code::kFile, "JSON: the key \"" + std::string(*twice) + "\" stands twice in one object"};
  }

  Result<std::string> parse_string() {
    ++at_;
    std::string out;
    while (!at_end() && peek() != '"') {
      if (peek() == '\\') {
        FW_TRY(parse_escape(out));
        continue;
      }
      if (static_cast<unsigned char>(peek()) < 0x20) return error("no control character in a string");
      const std::size_t length = utf8_length(text_.substr(at_));
      if (length == 0) return error("UTF-8");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
    if (!take('"')) return error("'\"'");
    return out;
  }

  Status parse_escape(std::string& out) {
    ++at_;
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (at_end()) return error("an escape");
    if (const auto index = kNames.find(peek()); index != std::string_view::npos) {
      out.push_back(kMeanings[index]);
      ++at_;
      return {};
    }
    FW_ASSIGN(first, parse_unit());
    if (first >= 0xDC00 && first < 0xE000) return error("a high surrogate before a low one");
    if (first < 0xD800 || first >= 0xE000) return append_utf8(out, first), Status();
    if (!take('\\')) return error("a low surrogate");
    FW_ASSIGN(second, parse_unit());
    if (second < 0xDC00 || second >= 0xE000) return error("a low surrogate");
    append_utf8(out, 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
    return {};
  }

  // uXXXX
  Result<std::uint32_t> parse_unit() {
    if (!take('u')) return error("an escape");
    std::uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      const int digit = is_digit(c)            ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return error("a hexadecimal digit");
      unit = unit * 16 + static_cast<std::uint32_t>(digit);
    }
    return unit;
  }

  bool take_digits() noexcept {
    const std::size_t start = at_;
    while (is_digit(peek())) ++at_;
    return at_ > start;
  }

  Result<Json> parse_number() {
    const std::size_t start = at_;
    take('-');
    if (!take('0') && !take_digits()) return error("a value");
    bool whole = true;
    if (take('.')) {
      whole = false;
      if (!take_digits()) return error("a digit");
    }
    if (take('e') || take('E')) {
      whole = false;
      if (!take('+')) take('-');
      if (!take_digits()) return error("a digit");
    }
    return number_of(text_.substr(start, at_ - start), whole);
  }

  Result<Json> number_of(std::string_view digits, bool whole) const {
    if (whole) {
      std::int64_t value = 0;
      if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc())
        return Json(value);
    }
    if (digits.size() > 400) return error("a number of at most 400 characters");
    const std::optional<double> value = to_double(digits);
    if (!value) return error("a number within the range of float64 before it");
    return Json(*value);
  }

  std::string_view text_;
  JsonLimits limits_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

}  // namespace

std::optional<double> Json::number() const noexcept {
  if (const auto* whole = integer()) return static_cast<double>(*whole);
  const auto* value = std::get_if<double>(&content_);
  return value != nullptr ? std::optional<double>(*value) : std::nullopt;
}

const Json* Json::find(std::string_view key) const noexcept {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  for (const auto& [name, value] : *members)
    if (name == key) return &value;
  return nullptr;
}

const char* Json::type_name() const noexcept {
  static constexpr const char* kNames[] = {"null",     "a boolean", "a whole number", "a number",
                                           "a string", "an array",  "an object"};
  return kNames[content_.index()];
}

Result<Json> parse_json(std::string_view text, JsonLimits limits) { return Parser(text, limits).document(); }

}  // namespace featherweight
