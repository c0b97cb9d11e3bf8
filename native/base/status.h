// Errors as values. Inside the library an error travels as a Status; no exception leaves it.
//
// A text says what went wrong, where, what was expected and what was there instead.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace featherweight {

// The numbers are those of featherweight.h: never change one.
enum class Code : int {
  kOk = 0,
  kFile = 1,         // not a valid .fw file
  kGraph = 2,        // its graph is not valid
  kShape = 3,        // these shapes do not fit this graph
  kArgument = 4,     // a caller's mistake: dtype, count, threads, a null pointer
  kUnsupported = 5,  // valid, but not to be run here: an instruction set, a combination of attributes
  kMemory = 6,       // out of memory, or more than the limit
  kIo = 7,           // a file that cannot be read
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // kOk
  Status(Code code, std::string text) : code_(code), text_(std::move(text)) {}

  bool ok() const noexcept { return code_ == Code::kOk; }
  Code code() const noexcept { return code_; }
  const std::string& text() const noexcept { return text_; }
  // The same error, told as one of a part: "part: text".
  Status within(const std::string& part) && { return ok() ? std::move(*this) : Status(code_, part + ": " + text_); }

 private:
  Code code_ = Code::kOk;
  std::string text_;
};

// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  Result(Status error) : content_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const noexcept { return content_.index() == 0; }
  Status status() const { return ok() ? Status() : std::get<1>(content_); }
  // Only where ok().
  T& value() & { return *std::get_if<0>(&content_); }
  const T& value() const& { return *std::get_if<0>(&content_); }
  T&& value() && { return std::move(*std::get_if<0>(&content_)); }

 private:
  std::variant<T, Status> content_;
};

}  // namespace featherweight

// Leaves the function with the error of `expression`, a Status, if it is one.
#define FW_TRY(expression)                           \
  do {                                               \
    ::featherweight::Status fw_tried = (expression); \
    if (!fw_tried.ok()) return fw_tried;             \
  } while (false)

// Declares `name` with the value of `expression`, a Result, or leaves the function with its error.
#define FW_ASSIGN(name, expression)                                   \
  auto fw_result_of_##name = (expression);                            \
  if (!fw_result_of_##name.ok()) return fw_result_of_##name.status(); \
  auto name = std::move(fw_result_of_##name).value()
